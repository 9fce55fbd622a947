/**
 * Writes the golden log of a release: `npx tsx test/golden/make-log.ts test/golden/v0.1.0`.
 *
 * The directory must not exist: a golden log of a release that is out is never written again.
 * Beside the root stands `expected.json` with every record as read back, the chain head and the
 * digest of each file. The clock and the UUID are fixed, so the bytes are the same each time.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Clock, Disk } from '../../src/base/ports.js';
import { position, unixNanos, type Position } from '../../src/base/units.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { openLog } from '../../src/log/log.js';
import { readLog } from '../../src/log/reader.js';
import type { LogRecord } from '../../src/log/types.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import { encodeHead, encodeState, headOf } from '../../src/machines/snapshots/state-json.js';
import { goldenAppends, type GoldenAppend } from './log-events.js';

export const GOLDEN_UUID = '5f0c1f6e-6d1b-4f59-9d53-0a4be60f7c01';

function goldenClock(): Clock {
  // 2026-01-01T00:00:00Z, and 1.000000001 seconds more each time.
  let now = 1_767_225_600_000_000_000n;
  return {
    now: () => unixNanos((now += 1_000_000_001n)),
    monotonicMillis: () => 0,
    schedule: () => () => undefined,
  };
}

/** A record as JSON holds it; times as text, because they exceed 2^53. */
export const asJson = (record: LogRecord): unknown => ({ ...record, time: record.time.toString() });

export interface GoldenExpectation {
  readonly release: string;
  readonly records: readonly unknown[];
  /** Every snapshot after the last record, as a checkpoint would hold it. */
  readonly projection: readonly string[];
  readonly chain: string;
  readonly checkpoint: { readonly position: number; readonly lines: readonly string[] };
  readonly files: Readonly<Record<string, string>>;
}

/** The same file system everywhere: the real one differs from machine to machine. */
export function goldenDisk(): Disk {
  const facts = { type: 'ext4', id: '3c0e2b4a-8f5d-4d1b-9a77-52c1e6a90b34', device: 0n, mountId: 1 };
  return {
    ...systemDisk(),
    fileSystem: async (path) => {
      await stat(path);
      return facts;
    },
  };
}

/** Digests of all files of a root. */
export async function digestsOf(root: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  const names = ['identity.json', ...(await readdir(`${root}/log`)).map((name) => `log/${name}`)];
  for (const name of names.sort()) {
    const bytes = await readFile(`${root}/${name}`);
    digests[name] = createHash('sha256').update(bytes).digest('hex');
  }
  return digests;
}

/** Writes a root of small segments with one checkpoint in the middle, and answers what it holds. */
export async function writeGoldenLog(
  root: string,
  appends: readonly GoldenAppend[],
  release: string,
): Promise<GoldenExpectation> {
  const disk = goldenDisk();
  const { log } = await openLog({
    root,
    disk,
    clock: goldenClock(),
    uuid: () => GOLDEN_UUID,
    writtenBy: release,
    segmentBytes: 4096,
    holder: { pid: 1, host: 'golden', command: 'make-log' },
    onCheckpoint: () => Promise.resolve(),
    onRecords: () => undefined,
    onWarning: (message) => {
      throw new Error(message);
    },
  });
  let lines: readonly string[] = [];
  let checkpointAt = 0;
  for (const [index, { events, sync }] of appends.entries()) {
    const { durable } = log.append(events, { sync });
    if (sync) await durable;
    if (index === Math.floor(appends.length / 2)) {
      checkpointAt = log.durablePosition;
      lines = await projectionOf(root, position(checkpointAt));
      await log.writeCheckpoint({ position: position(checkpointAt), lines });
    }
  }
  await log.close();
  await rm(`${root}/log/lock`);
  return expectationOf(root, release, { position: position(checkpointAt), lines });
}

/** The lines of a checkpoint at a position: what a replay from the beginning makes of the log. */
export async function projectionOf(root: string, at?: Position): Promise<readonly string[]> {
  const replay = new Replay();
  const range = at === undefined ? {} : { to: at };
  for await (const record of readLog({ root, disk: systemDisk(), ...range })) replay.apply(record);
  const { daemonStreamVersion, forest } = replay;
  const head = encodeHead(headOf(forest, daemonStreamVersion));
  return [head, ...[...forest.values()].map(encodeState)];
}

async function expectationOf(
  root: string,
  release: string,
  checkpoint: GoldenExpectation['checkpoint'],
): Promise<GoldenExpectation> {
  const disk = systemDisk();
  const records: unknown[] = [];
  for await (const record of readLog({ root, disk })) records.push(asJson(record));
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind !== 'summary') throw new Error(item.detail);
    const projection = await projectionOf(root);
    const files = await digestsOf(root);
    return { release, records, projection, chain: item.chain, checkpoint, files };
  }
  throw new Error('verify ended without a summary');
}

async function main(directory: string): Promise<void> {
  const release = `stratalog ${/v([^/]+)$/.exec(directory)?.[1] ?? ''}`;
  await mkdir(directory, { recursive: false });
  const expected = await writeGoldenLog(`${directory}/root`, goldenAppends(), release);
  await writeFile(`${directory}/expected.json`, `${JSON.stringify(expected, null, 2)}\n`);
  console.log(`${expected.records.length} records, chain head ${expected.chain}`);
}

const script = process.argv[1];
if (script !== undefined && import.meta.url === pathToFileURL(script).href) {
  const directory = process.argv[2];
  if (directory === undefined) throw new Error('usage: make-log.ts test/golden/v<release>');
  await main(resolve(directory));
}
