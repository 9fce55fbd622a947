/**
 * Goal: the steps by hand of docs/recovery.md lead to a daemon that starts. Method: they are
 * carried out on a damaged root, and the real daemon is started on the result.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aCommitted,
  aDaemonToBe,
  aDirectory,
  appendTo,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const segmentsOf = (root: string): string[] =>
  readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith('.seg'))
    .sort();

async function aRootOfThirty(root: string): Promise<void> {
  const ids = [...Array(30).keys()].map((n) => n + 1);
  await appendTo(root, [
    daemonStarted(),
    ...ids.flatMap((id) => [preparing(id, `n/${id}/key`), prepared(id)]),
  ]);
  mkdirSync(join(root, 'snapshots'));
  for (const id of ids) {
    aCommitted(root, id);
    mkdirSync(join(root, 'snapshots', String(id), 'work'));
  }
}

it('ends a damaged log at its last sound record', { timeout: 60_000 }, async () => {
  const daemon = await aDaemonToBe();
  const { root } = daemon;
  await aRootOfThirty(root);
  const [, second = ''] = segmentsOf(root);
  const path = join(root, 'log', second);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(1500) ^ 2, 1500);
  writeFileSync(path, bytes);
  await expect(daemon.start()).rejects.toThrow('did not start');

  const { stderr } = await stratalog(['log', '--root', root]);
  const said = /at position (\d+) \((\d+\.seg), offset (\d+)\)/.exec(stderr);
  const [, position = '', segment = '', offset = ''] = said ?? [];
  expect(segment).toBe(second);
  const aside = await aDirectory();
  for (const name of readdirSync(join(root, 'log'))) {
    const at = /^(\d{20})\.(seg|checkpoint)$/.exec(name)?.[1];
    if (Number(at) > Number(position)) renameSync(join(root, 'log', name), join(aside, name));
  }
  const size = String(statSync(path).size);
  execFileSync('truncate', ['-s', offset, path]);
  execFileSync('truncate', ['-s', size, path]);

  const verified = await stratalog(['verify', '--root', root]);
  expect(verified.stdout).toContain(`verified up to position ${position},`);
  expect(verified.code).toBe(0);
  const inspected = await stratalog(['inspect', '--json', '--root', root]);
  expect(inspected.code).toBe(3);
  const findings = jsonLines(inspected.stdout)[0]?.['findings'] as { kind: string }[];
  expect(new Set(findings.map(({ kind }) => kind))).toContain('OrphanDirectory');

  await daemon.start();
  await askedOf(daemon).prepare('n/100/new');
  await daemon.stop();
  expect((await stratalog(['verify', '--root', root])).code).toBe(0);
});

it('goes on after identity.json was lost and written by hand', { timeout: 60_000 }, async () => {
  const daemon = await aDaemonToBe();
  const { root } = daemon;
  await daemon.start();
  await askedOf(daemon).prepare('n/1/key');
  await daemon.stop();
  const identity = join(root, 'identity.json');
  renameSync(identity, join(await aDirectory(), 'lost.json'));
  await expect(daemon.start()).rejects.toThrow('did not start');
  expect(daemon.log()).toContain('identity.json is missing');

  const [checkpoint = ''] = readdirSync(join(root, 'log')).filter((name) =>
    name.endsWith('.checkpoint'),
  );
  const [line = ''] = readFileSync(join(root, 'log', checkpoint), 'utf8').split('\n');
  const { root: uuid } = JSON.parse(line) as { root: string };
  const byHand = {
    uuid,
    created: '1700000000000000000',
    formatVersion: 1,
    epoch: 1,
    device: String(statSync(root).dev),
    writtenBy: 'stratalog 0.1.0',
  };
  writeFileSync(identity, JSON.stringify(byHand));
  await daemon.start();
  await askedOf(daemon).prepare('n/2/key');
  await daemon.stop();
  expect((await stratalog(['verify', '--root', root])).code).toBe(0);
});
