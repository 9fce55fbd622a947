/**
 * Collects what is left of a log: its identity, the segments and their headers, the sound
 * checkpoints and the findings. Only reads; repair-plan.ts decides.
 */
import { errnoOf, reasonOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { position } from '../../base/units.js';
import { decodeRecord } from '../../log/format/codec.js';
import { readCheckpoint, refuseUnread } from '../../log/checkpoint/checkpoint.js';
import { LogTooNew, RootRefused } from '../../log/errors.js';
import {
  listLog,
  logDirectory,
  NO_FILE,
  withFile,
  type LogFiles,
  type NamedAt,
} from '../../log/files.js';
import type { LogFinding } from '../../log/verify/findings.js';
import { CHAIN_BYTES } from '../../log/format/layout.js';
import { readIdentity, type StoredIdentity } from '../../log/root/identity.js';
import { readHeader, type SegmentHeader } from '../../log/format/segment-header.js';
import { bytesAfter } from '../../log/read/torn-tail.js';
import type { LogRecord } from '../../log/types.js';
import { verifyLog } from '../../log/verify/verify.js';
import { checkEvents, type EventFinding } from '../../inspect/archive/check-events.js';
import { Replay } from '../../inspect/archive/replay.js';

/** A directory entry with the name of a segment. */
export interface SegmentFile {
  readonly name: string;
  readonly namedPosition: number;
  /** Null if it cannot be decoded. */
  readonly header: SegmentHeader | null;
  /** False for a directory, a pipe or a dangling link. */
  readonly isFile: boolean;
}

/** A checkpoint that is valid and belongs to the log. */
export interface SoundCheckpoint {
  readonly name: string;
  readonly position: number;
  readonly chain: Buffer;
  readonly streams: ReadonlyMap<string, number>;
  readonly streamsPosition: number;
  /** Null if its lines cannot be decoded. */
  restore(): Promise<Replay | null>;
}

export type IdentityEvidence =
  | { readonly kind: 'sound'; readonly identity: StoredIdentity }
  | { readonly kind: 'missing' }
  | { readonly kind: 'damaged'; readonly why: string };

export interface RepairEvidence {
  readonly identity: IdentityEvidence;
  /** UUID of the log that the records belong to; null if unknown. */
  readonly uuid: string | null;
  readonly files: LogFiles;
  readonly segments: readonly SegmentFile[];
  /** In ascending order of position. */
  readonly checkpoints: readonly SoundCheckpoint[];
  readonly findings: readonly (LogFinding | EventFinding)[];
}

/** Fails with LogTooNew, HostFault. */
export async function gatherRepairEvidence(disk: Disk, root: string): Promise<RepairEvidence> {
  const identity = await identityEvidence(disk, root);
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
  const rejected = new Set(
    findings.flatMap((one) => (one.kind === 'checkpoint-differs' ? [one.subject] : [])),
  );
  const checkpoints: SoundCheckpoint[] = [];
  for (const named of files.checkpoints) {
    if (known === null || rejected.has(named.name)) continue;
    const checkpoint = await checkpointOf(disk, root, named, known);
    if (checkpoint !== null) checkpoints.push(checkpoint);
  }
  return { identity, uuid: known, files, segments, checkpoints, findings };
}

/** Verifies the log. A segment that is not a file ends verification and is itself a finding. */
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
    // Stops at damage, so it covers only the events before it.
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

async function identityEvidence(disk: Disk, root: string): Promise<IdentityEvidence> {
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
    // An unreadable disk may be readable on another machine, so never remove a file for that.
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    return { header: null, isFile: false };
  }
  if (reading.kind === 'too-new') throw new LogTooNew(`the segment ${path}`, reading.writtenBy);
  if (reading.kind === 'valid') return { header: reading.header, isFile: true };
  return { header: null, isFile: true };
}

/** The UUID in most segment headers; without a sound header, that of the newest checkpoint. */
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
    const uuid = await uuidIn(disk, `${logDirectory(root)}/${name}`);
    if (uuid !== null) return uuid;
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
  named: NamedAt,
  uuid: string,
): Promise<SoundCheckpoint | null> {
  const reading = await readCheckpoint(disk, root, named, uuid);
  if (reading.kind === 'unusable') {
    refuseUnread(reading);
    return null;
  }
  const { position: at, chain, streams, streamsPosition } = reading.envelope;
  const restore = async (): Promise<Replay | null> => {
    const again = await readCheckpoint(disk, root, named, uuid);
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
  return { name: named.name, position: at, chain, streams, streamsPosition, restore };
}

/** A record with a valid checksum, whether or not the records before it are readable. */
export interface LooseRecord {
  readonly file: string;
  readonly offset: number;
  readonly position: number;
  /** Null if its body cannot be decoded. */
  readonly record: LogRecord | null;
}

/** All records with a valid checksum in one file, from an offset on. */
export async function looseRecords(
  disk: Disk,
  root: string,
  file: SegmentFile,
  from: number,
): Promise<readonly LooseRecord[]> {
  if (!file.isFile) return [];
  return withFile(disk, `${logDirectory(root)}/${file.name}`, 'read', async (open) => {
    const rest = await bytesAfter(open, from, Number.MAX_SAFE_INTEGER - 2 ** 40);
    const found: LooseRecord[] = [];
    for (const { offset, end, position: at } of rest.records) {
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

/** Chain hash before the first record of a log. */
export const CHAIN_START = Buffer.alloc(CHAIN_BYTES);
