/**
 * Goal: repair and compact change the root after a yes, and only then. Method: the built command on a
 * pseudo terminal with simulated keys; the root is compared byte for byte.
 */
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { systemDisk } from '../../src/host/files/disk.js';
import type { RecordedFileSystems } from '../../src/log/root/file-systems.js';
import { writeJournal } from '../../src/repair/repair-journal.js';
import { unixNanos } from '../../src/base/units.js';
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

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

interface Refusal {
  readonly what: string;
  readonly keys: string;
  readonly code: number;
}

const atTheEnd: Refusal = { what: 'the end of input', keys: KEYS.controlD, code: 2 };
/** 128 plus the number of the signal. */
const interrupted: Refusal = { what: 'Ctrl-C', keys: KEYS.controlC, code: 130 };
const refused: readonly Refusal[] = [
  { what: 'no', keys: `n${KEYS.enter}`, code: 2 },
  { what: 'an empty answer', keys: KEYS.enter, code: 2 },
  { what: 'something else that begins with y', keys: `yesterday${KEYS.enter}`, code: 2 },
];

interface Prompt {
  readonly name: string;
  readonly root: () => Promise<string>;
  readonly args: readonly string[];
  /** Shown before the question. */
  readonly plan: readonly string[];
  readonly question: string;
  readonly abortMessage: string;
  readonly done: string;
  /** All prompts share their code: each answer is tested once, the dangerous ones everywhere. */
  readonly refusals: readonly Refusal[];
}

const aLongLog = (): Promise<string> =>
  aRoot([...Array(30).keys()].flatMap((n) => [preparing(n + 1, `n/${n}/key`), prepared(n + 1)]));

async function aDamagedRoot(): Promise<string> {
  const root = await aLongLog();
  const [, second = ''] = readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith('.seg'))
    .sort();
  const path = join(root, 'log', second);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(1500) ^ 2, 1500);
  writeFileSync(path, bytes);
  return root;
}

/** As after a repair that was interrupted just before its last write. */
async function aRootWithAJournal(): Promise<string> {
  const root = await aLongLog();
  const identity = JSON.parse(readFileSync(join(root, 'identity.json'), 'utf8')) as {
    readonly uuid: string;
    readonly created: string;
    readonly fileSystems: RecordedFileSystems;
  };
  const quarantine = 'quarantine-2-1';
  cpSync(join(root, 'identity.json'), join(root, 'log', quarantine, 'identity.json'));
  await writeJournal(systemDisk(), root, {
    ...{ version: 1, quarantine, takenOut: [], renamed: [], published: [] },
    identity: {
      ...{ ...identity, created: unixNanos(BigInt(identity.created)) },
      ...{ formatVersion: 1, epoch: 2, writtenBy: 'stratalog 0.1.0' },
    },
  });
  return root;
}

const prompts: readonly Prompt[] = [
  {
    name: 'compact',
    root: aLongLog,
    args: ['compact', '--before', '40'],
    plan: ['Will be dropped:', 'the log then begins at 22'],
    question: 'Drop these events permanently? [y/N]',
    abortMessage: 'nothing was dropped',
    done: 'dropped 1 segment; the log begins at position 22',
    refusals: [atTheEnd, interrupted],
  },
  {
    name: 'repair',
    root: aDamagedRoot,
    args: ['repair'],
    plan: ['record-damaged', 'WOULD BE LOST'],
    question: 'Repair the log as shown? [y/N]',
    abortMessage: 'nothing was changed',
    done: 'verified: the log is sound',
    refusals: [...refused, atTheEnd, interrupted],
  },
  {
    name: 'repair of an interrupted repair',
    root: aRootWithAJournal,
    args: ['repair'],
    plan: ['an earlier repair is unfinished', 'epoch 2'],
    question: 'Finish it? [y/N]',
    abortMessage: 'nothing was changed',
    done: 'verified: the log is sound',
    refusals: [interrupted],
  },
];

/** Detects any write. */
const filesOf = (root: string) =>
  (readdirSync(root, { recursive: true }) as string[]).sort().map((name) => {
    const { mtimeMs, isFile } = statOf(join(root, name));
    return [name, mtimeMs, isFile ? readFileSync(join(root, name)).toString('base64') : ''];
  });

function statOf(path: string) {
  const status = statSync(path);
  return { mtimeMs: status.mtimeMs, isFile: status.isFile() };
}

it.each(prompts)('$name asks, and only proceeds after yes', { timeout: 90_000 }, async (each) => {
  const { question, abortMessage } = each;
  const root = await each.root();
  const args = [...each.args, '--root', root];
  const before = filesOf(root);
  for (const { what, keys, code } of each.refusals) {
    const shown = await onTerminal(args, question, keys);
    expect(shown.code, `${what}: ${shown.text}`).toBe(code);
    for (const part of each.plan) expect(shown.text, what).toContain(part);
    expect(shown.text.slice(shown.text.indexOf(question)), what).toMatch(
      new RegExp(`\\nstratalog: ${abortMessage}\\r\\n$`),
    );
    expect(filesOf(root), what).toEqual(before);
  }
  const withoutTerminal = await stratalog(args);
  expect(withoutTerminal).toMatchObject({ code: 2 });
  expect(withoutTerminal.stderr).toBe(
    `stratalog: ${abortMessage}: no terminal to prompt on; use --yes to confirm\n`,
  );
  expect(filesOf(root)).toEqual(before);
  const confirmed = await onTerminal(args, question, `y${KEYS.enter}`);
  expect(confirmed).toMatchObject({ code: 0, text: expect.stringContaining(each.done) as string });
  expect(filesOf(root)).not.toEqual(before);
  expect((await stratalog(['verify', '--root', root])).code).toBe(0);
});

it('does not prompt with --json, even on a terminal', async () => {
  const root = await aDamagedRoot();
  const before = filesOf(root);
  const repairing = onTerminal(['repair', '--json', '--root', root], '[y/N]', 'y\r');
  const long = await aLongLog();
  const args = ['compact', '--json', '--before', '40', '--root', long];
  for (const { code, text } of [await repairing, await onTerminal(args, '[y/N]', 'y\r')]) {
    expect({ code, prompted: text.includes('[y/N]') }).toEqual({ code: 2, prompted: false });
  }
  expect(filesOf(root)).toEqual(before);
});
