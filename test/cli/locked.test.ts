/**
 * Goal: commands that write to a root in use exit with 4, name the process that has it, and change
 * nothing; read-only commands work. Method: the built commands, while this process holds the lock as a
 * daemon does.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { takeLock } from '../../src/log/root/lock.js';
import type { DiskLock } from '../../src/base/ports.js';
import {
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  prepared,
  preparing,
  stratalog,
} from './rig.js';
import { KEYS, onTerminal } from './terminal.js';

let held: DiskLock | null = null;

beforeAll(builtCli, buildLimitMillis);
afterEach(async () => {
  await held?.release();
  held = null;
  await cleanUp();
});

async function hold(root: string, command = 'stratalog serve'): Promise<void> {
  const holder = { pid: process.pid, host: hostname(), command };
  held = await takeLock(systemDisk(), systemClock(), root, holder);
}

const inUse = new RegExp(`is in use by process ${process.pid}, started 20`);

const namesIn = (root: string): string[] => readdirSync(join(root, 'log')).sort();

/** Detects any write, except to the lock. */
const filesOf = (root: string) =>
  [
    ...namesIn(root)
      .filter((name) => name !== 'lock')
      .map((name) => join('log', name)),
    'identity.json',
  ].map((name) => [
    name,
    statSync(join(root, name)).mtimeMs,
    readFileSync(join(root, name), 'base64'),
  ]);

async function aLongLog(): Promise<string> {
  const root = await aRoot(
    [...Array(30).keys()].flatMap((n) => [preparing(n + 1, `n/${n}/key`), prepared(n + 1)]),
  );
  for (let id = 1; id <= 30; id += 1) {
    mkdirSync(join(root, 'snapshots', String(id), 'fs'), { recursive: true });
    mkdirSync(join(root, 'snapshots', String(id), 'work'));
  }
  return root;
}

function damage(root: string): void {
  const [, second = ''] = namesIn(root).filter((name) => name.endsWith('.seg'));
  const path = join(root, 'log', second);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(1500) ^ 2, 1500);
  writeFileSync(path, bytes);
}

const writing = [
  ['serve'],
  ['checkpoint'],
  ['compact', '--before', '40', '--yes'],
  ['repair'],
  ['repair', '--dry-run'],
  ['repair', '--yes', '--json'],
  ['repair', '--release', 'all', '--yes'],
];

const readOnly = [
  ['inspect'],
  ['verify'],
  ['gc', '--dry-run'],
  ['compact', '--before', '40', '--dry-run'],
];

it('refuses commands that write, and allows read-only commands', { timeout: 90_000 }, async () => {
  const root = await aLongLog();
  await hold(root);
  const before = filesOf(root);
  for (const args of writing) {
    // serve creates the directory of its socket first.
    const socket = args[0] === 'serve' ? ['--address', join(root, '..', 'a.sock')] : [];
    const { code, stdout, stderr } = await stratalog([...args, ...socket, '--root', root]);
    expect({ args, code, stdout }).toEqual({ args, code: 4, stdout: '' });
    expect(stderr, args.join(' ')).toMatch(inUse);
  }
  for (const args of readOnly) {
    expect({ args, ...(await stratalog([...args, '--root', root])) }).toMatchObject({
      args,
      code: 0,
    });
  }
  expect(filesOf(root)).toEqual(before);
});

it('refuses gc while another command holds the root: only a daemon collects', async () => {
  const root = await aLongLog();
  mkdirSync(join(root, 'snapshots', 'stray'));
  await hold(root, 'stratalog checkpoint');
  const { code, stderr } = await stratalog(['gc', '--root', root]);
  expect(code).toBe(4);
  expect(stderr).toMatch(inUse);
  expect(readdirSync(join(root, 'snapshots'))).toContain('stray');
});

it('refuses commands that write to a damaged root', async () => {
  const root = await aLongLog();
  damage(root);
  await hold(root);
  for (const args of [['repair', '--dry-run'], ['repair', '--yes'], ['checkpoint']]) {
    const { code, stderr } = await stratalog([...args, '--root', root]);
    expect({ args, code }).toEqual({ args, code: 4 });
    expect(stderr, args.join(' ')).toMatch(inUse);
  }
});

it('refuses if the root was locked during the prompt', { timeout: 60_000 }, async () => {
  const root = await aLongLog();
  const compacting = ['compact', '--before', '40', '--root', root];
  const whole = filesOf(root);
  const yes = `y${KEYS.enter}`;
  const compacted = await onTerminal(compacting, '[y/N]', yes, () => hold(root));
  expect(compacted).toMatchObject({ code: 4, text: expect.stringMatching(inUse) as string });
  expect(filesOf(root)).toEqual(whole);
  await held?.release();
  damage(root);
  const damaged = filesOf(root);
  const repaired = await onTerminal(['repair', '--root', root], '[y/N]', yes, () => hold(root));
  expect(repaired).toMatchObject({ code: 4, text: expect.stringMatching(inUse) as string });
  expect(filesOf(root)).toEqual(damaged);
});
