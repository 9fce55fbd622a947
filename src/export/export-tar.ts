/**
 * Exports the log of a root as a tar of its files: identity, segments, usable checkpoints, and a
 * manifest for `sha256sum -c`. Files are opened in the order of a backup (docs/operations.md), so
 * the export is consistent while a daemon is writing: first the identity, then the checkpoints,
 * then the segments, with the newest one cut after its last whole append.
 */
import { createHash } from 'node:crypto';
import { errnoOf, reasonOf } from '../base/errors.js';
import type { Disk, DiskFile } from '../base/ports.js';
import { examineCheckpoint, refuseUnread } from '../log/checkpoint/checkpoint.js';
import { LogDamaged } from '../log/errors.js';
import {
  identityPath,
  listLog,
  logDirectory,
  NO_FILE,
  readWhole,
  type NamedAt,
} from '../log/files.js';
import type { ListedSegment } from '../log/read/segment-list.js';
import { NothingToExport, type ExportSummary, type ExportOptions } from './export-jsonl.js';
import { fileHeader, paddingAfter, TAR_END } from '../tar/writer.js';
import { chainAt, chainHexBefore, rawBatches, soundSegments } from './export-records.js';

export const TAR_SCHEMA = 'stratalog.export-tar/v1';
/** Describes the export, within the tar. */
export const TAR_EXPORT_INFO = 'export.json';
export const TAR_MANIFEST = 'MANIFEST';
const IDENTITY_BYTES_MAX = 64 * 1024;
const COPY_BYTES = 256 * 1024;

/** A tar entry: the first `size` bytes of a file. */
interface PlannedFile {
  readonly name: string;
  readonly size: number;
  readonly open: () => Promise<DiskFile>;
}

/**
 * Yields the tar in pieces.
 *
 * Fails  NothingToExport, LogTooNew, HostFault (ENOENT if the daemon retires a segment during the
 *        export). Damage is not a failure: the summary reports it.
 */
export async function* exportAsTar(
  disk: Disk,
  root: string,
  options: Omit<ExportOptions, 'from' | 'to'> & { readonly modified: Date },
): AsyncGenerator<Uint8Array, ExportSummary, undefined> {
  const identity = await readWhole(disk, identityPath(root), IDENTITY_BYTES_MAX);
  const checkpoints = await openCheckpoints(disk, root);
  try {
    const plan = await planSegments(disk, root, options);
    if (identity === null || plan.uuid === null) {
      throw new NothingToExport(
        `cannot export ${root} as tar: identity.json is missing or damaged; ` +
          'export as jsonl, which does not need it',
      );
    }
    const usable = await usableCheckpoints(disk, root, plan, checkpoints);
    const sums: string[] = [];
    const entry = async function* (name: string, size: number, pieces: Pieces) {
      const sum = yield* entryOf({ name, size, modified: options.modified }, pieces);
      sums.push(`${sum}  ${name}\n`);
    };
    yield* entry('identity.json', identity.length, [identity]);
    for (const { name, size, open } of [...plan.files, ...usable]) {
      const file = await open();
      try {
        yield* entry(name, size, piecesOf(file, size));
      } finally {
        await file.close();
      }
    }
    const info = exportInfo(plan.uuid, plan.summary, options);
    yield* entry(TAR_EXPORT_INFO, info.length, [info]);
    const manifest = Buffer.from(sums.join(''));
    yield* entry(TAR_MANIFEST, manifest.length, [manifest]);
    yield TAR_END;
    return plan.summary;
  } finally {
    for (const { file } of checkpoints) await file.close();
  }
}

function exportInfo(
  uuid: string,
  { from, to, chain, stopped }: ExportSummary,
  { release, exported }: Pick<ExportOptions, 'release' | 'exported'>,
): Buffer {
  const info = { schema: TAR_SCHEMA, uuid, release, exported, from, to, chain };
  return Buffer.from(`${JSON.stringify({ ...info, complete: stopped === null })}\n`);
}

interface OpenCheckpoint {
  readonly named: NamedAt;
  readonly file: DiskFile;
}

/** Holds the files open, because the daemon deletes all but its newest two. */
async function openCheckpoints(disk: Disk, root: string): Promise<readonly OpenCheckpoint[]> {
  const open: OpenCheckpoint[] = [];
  for (const named of (await listLog(disk, root)).checkpoints) {
    try {
      const file = await disk.open(`${logDirectory(root)}/${named.name}`, 'read');
      open.push({ named, file });
    } catch (thrown) {
      const code = errnoOf(thrown) ?? '';
      // Skip a checkpoint that was removed or is not a file; fail on one that cannot be read.
      if (code !== 'ENOENT' && !NO_FILE.has(code)) throw thrown;
    }
  }
  return open;
}

interface SegmentsPlan {
  /** Null without an identity. */
  readonly uuid: string | null;
  readonly files: readonly PlannedFile[];
  readonly summary: ExportSummary;
  readonly chainOf: (at: number) => Promise<string | null>;
}

async function planSegments(
  disk: Disk,
  root: string,
  options: Pick<ExportOptions, 'damageAtEnd'>,
): Promise<SegmentsPlan> {
  const sound = await soundSegments(disk, root);
  const first = sound.segments[0];
  const from = first?.header.firstPosition ?? 0;
  let to = from;
  let chain = first?.header.chain.toString('hex') ?? '0'.repeat(64);
  let stopped: string | null;
  const ends = new Map<ListedSegment, number>();
  if (first) ends.set(first, first.header.headerBytes);
  try {
    for await (const { segment, offset, bytes, starts } of rawBatches(disk, sound)) {
      ends.set(segment, offset + bytes.length);
      chain = chainAt(bytes, starts.at(-1) ?? 0);
      to += starts.length;
    }
    // The newest segment may have no record yet.
    const last = sound.segments.at(-1);
    if (last && !ends.has(last)) ends.set(last, last.header.headerBytes);
    stopped = await options.damageAtEnd();
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    stopped = reasonOf(thrown);
  }
  const files = [...ends].map(([{ name, path }, size]) => ({
    name: `log/${name}`,
    size,
    open: () => disk.open(path, 'read'),
  }));
  return {
    uuid: sound.identity?.uuid ?? null,
    files,
    summary: { from, to, records: to - from, chain, stopped },
    chainOf: (at) => chainHexBefore(disk, sound, at),
  };
}

/** The sound checkpoints of this log whose position is in the export. */
async function usableCheckpoints(
  disk: Disk,
  root: string,
  { uuid, summary, chainOf }: SegmentsPlan,
  checkpoints: readonly OpenCheckpoint[],
): Promise<readonly PlannedFile[]> {
  const usable: PlannedFile[] = [];
  for (const { named, file } of checkpoints) {
    // Through the open file: the daemon may have deleted the name.
    const reading = await examineCheckpoint(diskOpening(disk, file), root, named, uuid ?? '');
    if (reading.kind === 'unusable') {
      refuseUnread(reading);
      continue;
    }
    const { position, chain } = reading.envelope;
    if (position < summary.from || position > summary.to) continue;
    if ((await chainOf(position)) !== chain.toString('hex')) continue;
    usable.push({
      name: `log/${named.name}`,
      size: await file.size(),
      open: () => Promise.resolve(unclosed(file)),
    });
  }
  return usable;
}

/** The disk, except that every path opens this file. */
const diskOpening = (disk: Disk, file: DiskFile): Disk => ({
  open: () => Promise.resolve(unclosed(file)),
  list: (directory) => disk.list(directory),
  stat: (path) => disk.stat(path),
  fileSystem: (path) => disk.fileSystem(path),
  makeDirectory: (path) => disk.makeDirectory(path),
  rename: (from, to) => disk.rename(from, to),
  remove: (path) => disk.remove(path),
  syncDirectory: (path) => disk.syncDirectory(path),
  lock: (path) => disk.lock(path),
});

/** The file without its close: the owner closes it. */
const unclosed = (file: DiskFile): DiskFile => ({
  path: file.path,
  size: () => file.size(),
  read: (into, offset) => file.read(into, offset),
  write: (bytes, offset) => file.write(bytes, offset),
  writeDurably: (bytes, offset) => file.writeDurably(bytes, offset),
  sync: () => file.sync(),
  truncate: (size) => file.truncate(size),
  close: () => Promise.resolve(),
});

type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

async function* piecesOf(file: DiskFile, size: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < size;) {
    const piece = Buffer.allocUnsafe(Math.min(COPY_BYTES, size - offset));
    const filled = await file.read(piece, offset);
    if (filled === 0) throw new Error(`${file.path} was truncated during the export`);
    yield piece.subarray(0, filled);
    offset += filled;
  }
}

/** Yields one tar entry and returns the SHA-256 of its content. */
async function* entryOf(
  file: { readonly name: string; readonly size: number; readonly modified: Date },
  pieces: Pieces,
): AsyncGenerator<Uint8Array, string, undefined> {
  const hash = createHash('sha256');
  yield fileHeader({ ...file, mode: 0o600 });
  for await (const piece of pieces) {
    hash.update(piece);
    yield piece;
  }
  yield paddingAfter(file.size);
  return hash.digest('hex');
}
