/**
 * What is left of a log: which files are whose, which checkpoints are sound, and from where to
 * where records can be followed without a gap. Reads only; what is made of it is decided in
 * repair-plan.ts.
 */
import { errnoOf, reasonOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { position } from '../../base/units.js';
import { decodeRecord } from '../../log/format/codec.js';
import { readCheckpoint, refuseUnread } from '../../log/checkpoint/checkpoint.js';
import { LogTooNew, RootRefused } from '../../log/errors.js';
import { listLog, logDirectory, NO_FILE, withFile, type LogFiles } from '../../log/files.js';
import type { LogFinding } from '../../log/verify/findings.js';
import { CHAIN_BYTES } from '../../log/format/layout.js';
import { readIdentity, type StoredIdentity } from '../../log/root/identity.js';
import { readHeader, type SegmentHeader } from '../../log/format/segment-header.js';
import { bytesAfter } from '../../log/read/torn-tail.js';
import type { LogRecord } from '../../log/types.js';
import { verifyLog } from '../../log/verify/verify.js';
import { checkEvents, type EventFinding } from '../../inspect/archive/check-events.js';
import { Replay } from '../../inspect/archive/replay.js';

/** A file that has the name of a segment. */
export interface SegmentFile {
  readonly name: string;
  readonly namedPosition: number;
  /** Null when it cannot be read. */
  readonly header: SegmentHeader | null;
  /** A directory, a pipe or a link to nothing under such a name. */
  readonly isFile: boolean;
}

/** A checkpoint that is sound as a file. */
export interface TakenCheckpoint {
  readonly name: string;
  readonly position: number;
  readonly chain: Buffer;
  readonly streams: ReadonlyMap<string, number>;
  readonly streamsPosition: number;
  /** Null when its lines cannot be understood. */
  restore(): Promise<Replay | null>;
}

export type IdentityEvidence =
  | { readonly kind: 'sound'; readonly identity: StoredIdentity }
  | { readonly kind: 'missing' }
  | { readonly kind: 'damaged'; readonly why: string };

export interface RepairEvidence {
  readonly identity: IdentityEvidence;
  /** Of the log that the records are of; null when nothing tells. */
  readonly uuid: string | null;
  readonly files: LogFiles;
  readonly segments: readonly SegmentFile[];
  /** By rising position. */
  readonly checkpoints: readonly TakenCheckpoint[];
  readonly findings: readonly (LogFinding | EventFinding)[];
}

/** Fails with LogTooNew, HostFault. */
export async function gatherRepairEvidence(disk: Disk, root: string): Promise<RepairEvidence> {
  const identity = await lookAtIdentity(disk, root);
  const files = await listLog(disk, root);
  const segments: SegmentFile[] = [];
  for (const { name, position: namedPosition } of files.segments) {
    segments.push({ name, namedPosition, ...(await headerOf(disk, root, name)) });
  }
  const findings = await findingsIn(disk, root, segments);
  const known =
    identity.kind === 'sound'
      ? identity.identity.uuid
      : await commonUuid(segments, disk, root, files);
  const distrusted = new Set(
    findings.flatMap((one) => (one.kind === 'checkpoint-differs' ? [one.subject] : [])),
  );
  const checkpoints: TakenCheckpoint[] = [];
  for (const { name, position: at } of files.checkpoints) {
    if (known === null || distrusted.has(name)) continue;
    const taken = await checkpointOf(disk, root, name, at, known);
    if (taken !== null) checkpoints.push(taken);
  }
  return { identity, uuid: known, files, segments, checkpoints, findings };
}

/** What verifying finds. A segment that may not be read ends it, and is a finding itself. */
async function findingsIn(
  disk: Disk,
  root: string,
  segments: readonly SegmentFile[],
): Promise<(LogFinding | EventFinding)[]> {
  const findings: (LogFinding | EventFinding)[] = [];
  try {
    for await (const item of verifyLog({ root, disk })) {
      if (item.kind !== 'summary' && item.severity !== 'info') findings.push(item);
    }
    // Damage in the bytes ends it early: it tells of events as far as they can be reached.
    for await (const finding of checkEvents(disk, root)) findings.push(finding);
  } catch (thrown) {
    const noFiles = segments.filter(({ isFile }) => !isFile);
    if (!NO_FILE.has(errnoOf(thrown) ?? '') || noFiles.length === 0) throw thrown;
    for (const { name, namedPosition } of noFiles) {
      if (findings.some((finding) => 'segment' in finding && finding.segment === name)) continue;
      findings.push({
        ...{ kind: 'header-damaged', severity: 'damage', segment: name, offset: 0 },
        position: position(namedPosition),
        detail: reasonOf(thrown),
      });
    }
  }
  return findings;
}

async function lookAtIdentity(disk: Disk, root: string): Promise<IdentityEvidence> {
  try {
    const identity = await readIdentity(disk, root);
    return identity === null ? { kind: 'missing' } : { kind: 'sound', identity };
  } catch (thrown) {
    if (!(thrown instanceof RootRefused)) throw thrown;
    return { kind: 'damaged', why: thrown.message };
  }
}

async function headerOf(
  disk: Disk,
  root: string,
  name: string,
): Promise<Pick<SegmentFile, 'header' | 'isFile'>> {
  const path = `${logDirectory(root)}/${name}`;
  let reading;
  try {
    reading = await withFile(disk, path, 'read', readHeader);
  } catch (thrown) {
    // A disk that cannot be read now may be read elsewhere: nothing is taken out for that.
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    // A directory, a socket, a link to nothing: whatever it is, it holds no records.
    return { header: null, isFile: false };
  }
  if (reading.kind === 'too-new') throw new LogTooNew(`the segment ${path}`, reading.writtenBy);
  if (reading.kind === 'valid') return { header: reading.header, isFile: true };
  return { header: null, isFile: true };
}

/** The log that most segments are of; without a sound segment, that of the newest checkpoint. */
async function commonUuid(
  segments: readonly SegmentFile[],
  disk: Disk,
  root: string,
  files: LogFiles,
): Promise<string | null> {
  const counts = new Map<string, number>();
  for (const { header } of segments) {
    if (header !== null) counts.set(header.uuid, (counts.get(header.uuid) ?? 0) + 1);
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  if (most !== undefined) return most[0];
  for (const { name } of files.checkpoints.toReversed()) {
    const said = await uuidIn(disk, `${logDirectory(root)}/${name}`);
    if (said !== null) return said;
  }
  return null;
}

async function uuidIn(disk: Disk, path: string): Promise<string | null> {
  try {
    return await withFile(disk, path, 'read', async (file) => {
      const bytes = Buffer.alloc(4096);
      const text = bytes.toString('utf8', 0, await file.read(bytes, 0));
      return /^\{"format":\d+,"root":"([0-9a-f-]{36})"/.exec(text)?.[1] ?? null;
    });
  } catch (thrown) {
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    return null;
  }
}

async function checkpointOf(
  disk: Disk,
  root: string,
  name: string,
  at: number,
  uuid: string,
): Promise<TakenCheckpoint | null> {
  const path = `${logDirectory(root)}/${name}`;
  const reading = await readCheckpoint(disk, path, uuid);
  if (reading.kind === 'unusable') {
    refuseUnread(reading);
    return null;
  }
  if (reading.envelope.position !== at) return null;
  const { chain, streams, streamsPosition } = reading.envelope;
  const restore = async (): Promise<Replay | null> => {
    const again = await readCheckpoint(disk, path, uuid);
    if (again.kind === 'unusable') {
      refuseUnread(again);
      return null;
    }
    try {
      return await Replay.restore(again.text);
    } catch {
      return null;
    }
  };
  if ((await restore()) === null) return null;
  return { name, position: at, chain, streams, streamsPosition, restore };
}

/** A record that is whole by its own checksum, whether or not anything leads up to it. */
export interface LooseRecord {
  readonly file: string;
  readonly offset: number;
  readonly position: number;
  /** Null when its body cannot be understood. */
  readonly record: LogRecord | null;
}

/** All whole records of one file from an offset on, decoded while they are wanted. */
export async function looseRecords(
  disk: Disk,
  root: string,
  file: SegmentFile,
  from: number,
): Promise<readonly LooseRecord[]> {
  if (!file.isFile) return [];
  return withFile(disk, `${logDirectory(root)}/${file.name}`, 'read', async (open) => {
    const behind = await bytesAfter(open, from, Number.MAX_SAFE_INTEGER - 2 ** 40);
    const found: LooseRecord[] = [];
    for (const { offset, end, position: at } of behind.records) {
      const record = await decodeAt(open, offset, end);
      found.push({ file: file.name, offset, position: at, record });
    }
    return found;
  });
}

async function decodeAt(file: DiskFile, offset: number, end: number): Promise<LogRecord | null> {
  const bytes = Buffer.alloc(end - offset);
  await file.read(bytes, offset);
  try {
    return decodeRecord(bytes, 0);
  } catch {
    return null;
  }
}

export const NOTHING_BEFORE = Buffer.alloc(CHAIN_BYTES);
