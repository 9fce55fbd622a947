/** Logs for the tests of this folder, in memory or on the real disk. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { Clock, Disk } from '../../src/base/ports.js';
import { streamVersion, unixNanos, type Position } from '../../src/base/units.js';
import { openLog, type OpenedLog, type OpenLogOptions } from '../../src/log/log.js';
import type { EventBody, EventLog, EventToAppend, LogRecord } from '../../src/log/types.js';
import type { LogFinding, VerifySummary } from '../../src/log/verify/findings.js';
import { readLog } from '../../src/log/reader.js';
import { verifyLog } from '../../src/log/verify/verify.js';

export const UUID = '0b5c7a1e-2f3d-4c6b-8a9e-112233445566';
export const ROOT = '/root';

/** Moves on by one microsecond each time it is asked. */
export function steppingClock(start = 1_700_000_000_000_000_000n): Clock {
  let now = start;
  return {
    now: () => unixNanos((now += 1000n)),
    monotonicMillis: () => Number(now - start) / 1e6,
    schedule: (delayMillis, callback) => {
      const timer = setTimeout(callback, delayMillis);
      return () => {
        clearTimeout(timer);
      };
    },
  };
}

export interface TestLog extends OpenedLog {
  /** What the open replayed, in order. */
  readonly replayed: LogRecord[];
  /** Lines of the checkpoint that was used; null without one. */
  readonly restored: { readonly position: Position; readonly lines: string[] } | null;
  readonly warnings: string[];
}

export async function openTestLog(
  disk: Disk,
  overrides: Partial<OpenLogOptions> = {},
): Promise<TestLog> {
  const replayed: LogRecord[] = [];
  const warnings: string[] = [];
  let restored: { position: Position; lines: string[] } | null = null;
  const opened = await openLog({
    root: ROOT,
    disk,
    clock: steppingClock(),
    uuid: () => UUID,
    writtenBy: 'stratalog 0.1.0',
    segmentBytes: 16 * 1024,
    onCheckpoint: (text, position) => {
      const lines = text.bytes.toString('utf8').split('\n').slice(0, -1);
      restored = { position, lines };
      return Promise.resolve();
    },
    onRecords: (batch) => {
      replayed.push(...batch);
    },
    onWarning: (message) => {
      warnings.push(message);
    },
    ...overrides,
  });
  return { ...opened, replayed, restored, warnings };
}

export function anEvent(
  stream: string,
  version: number,
  data: EventBody = { n: version },
  closesStream = false,
): EventToAppend {
  return {
    stream,
    expectedVersion: streamVersion(version),
    type: 'Noted',
    schemaVersion: 1,
    data,
    closesStream,
  };
}

/** Appends one durable event after another to one stream, each in a sync group of its own. */
export async function appendSingly(
  log: EventLog,
  stream: string,
  from: number,
  count: number,
  data?: EventBody,
): Promise<void> {
  for (let version = from; version < from + count; version++) {
    await log.append([anEvent(stream, version, data)], { sync: true }).durable;
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export const recordsOf = (disk: Disk, root = ROOT): Promise<LogRecord[]> =>
  collect(readLog({ root, disk }));

export async function verified(
  disk: Disk,
  root = ROOT,
  quick = false,
): Promise<{ findings: LogFinding[]; summary: VerifySummary }> {
  const findings: LogFinding[] = [];
  for await (const item of verifyLog({ root, disk, quick })) {
    if (item.kind === 'summary') return { findings, summary: item };
    findings.push(item);
  }
  throw new Error('verify ended without a summary');
}

/** The names of segments in a log, oldest first. */
export async function segmentNames(disk: Disk, root = ROOT): Promise<string[]> {
  return (await disk.list(`${root}/log`)).filter((name) => name.endsWith('.seg')).sort();
}

/** A directory of the test's own, removed afterwards. */
export async function withTemporaryRoot<T>(use: (root: string) => Promise<T>): Promise<T> {
  const root = await mkdtemp(`${tmpdir()}/stratalog-log-`);
  try {
    return await use(root);
  } finally {
    await rm(root, { recursive: true });
  }
}
