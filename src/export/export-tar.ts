/**
 * A root's log as a tar of its own files: identity, segments, the checkpoints that can be used,
 * and a manifest that `sha256sum -c` reads. Files are looked up in the order of a backup
 * (docs/operations.md), so that it is whole beside a daemon too: first the identity, then the
 * checkpoints, then the segments, the newest one cut behind its last whole append.
 */
import { createHash } from 'node:crypto';
import { errnoOf, reasonOf } from '../base/errors.js';
import type { Disk, DiskFile } from '../base/ports.js';
import { examineCheckpoint, refuseUnread } from '../log/checkpoint/checkpoint.js';
import { LogDamaged } from '../log/errors.js';
import { identityPath, listLog, logDirectory, NO_FILE, readWhole } from '../log/files.js';
import type { ListedSegment } from '../log/read/segment-list.js';
import { NothingToExport, type ExportSummary, type ExportOptions } from './export-jsonl.js';
import { fileHeader, paddingAfter, TAR_END } from '../tar/writer.js';
import { chainAt, chainHexBefore, rawBatches, soundSegments } from './export-records.js';

/** What the tar says of itself: `export.json` in it. */
export const TAR_SCHEMA = 'stratalog.export-tar/v1';
export const TAR_ABOUT = 'export.json';
export const TAR_MANIFEST = 'MANIFEST';
const IDENTITY_BYTES_MAX = 64 * 1024;
const COPY_BYTES = 256 * 1024;

/** A file of the tar: so many bytes from the beginning of what is open. */
interface Planned {
  readonly name: string;
  readonly size: number;
  readonly open: () => Promise<DiskFile>;
}

/**
 * The tar in pieces.
 *
 * Fails  NothingToExport, LogTooNew, HostFault (ENOENT when the daemon retired a segment
 *        meanwhile); damage is no failure, but told in the summary
 */
export async function* exportAsTar(
  disk: Disk,
  root: string,
  query: Omit<ExportOptions, 'from' | 'to'> & { readonly modified: Date },
): AsyncGenerator<Uint8Array, ExportSummary, undefined> {
  const identity = await readWhole(disk, identityPath(root), IDENTITY_BYTES_MAX);
  const checkpoints = await openCheckpoints(disk, root);
  try {
    const plan = await planSegments(disk, root, query);
    if (identity === null || plan.uuid === null) {
      throw new NothingToExport(
        `${root} has no identity.json that can be used, and a root is none without it. ` +
          'Export it as jsonl, which needs none',
      );
    }
    const usable = await usableCheckpoints(disk, root, plan, checkpoints);
    const sums: string[] = [];
    const entry = async function* (name: string, size: number, pieces: Pieces) {
      const sum = yield* entryOf({ name, size, modified: query.modified }, pieces);
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
    const about = aboutOf(plan.uuid, plan.summary, query);
    yield* entry(TAR_ABOUT, about.length, [about]);
    const manifest = Buffer.from(sums.join(''));
    yield* entry(TAR_MANIFEST, manifest.length, [manifest]);
    yield TAR_END;
    return plan.summary;
  } finally {
    for (const { file } of checkpoints) await file.close();
  }
}

function aboutOf(
  uuid: string,
  { from, to, chain, stopped }: ExportSummary,
  { release, exported }: Pick<ExportOptions, 'release' | 'exported'>,
): Buffer {
  const about = { schema: TAR_SCHEMA, uuid, release, exported, from, to, chain };
  return Buffer.from(`${JSON.stringify({ ...about, complete: stopped === null })}\n`);
}

interface OpenCheckpoint {
  readonly name: string;
  readonly file: DiskFile;
}

/** Held open: the daemon keeps only its newest two. */
async function openCheckpoints(disk: Disk, root: string): Promise<readonly OpenCheckpoint[]> {
  const open: OpenCheckpoint[] = [];
  for (const { name } of (await listLog(disk, root)).checkpoints) {
    try {
      open.push({ name, file: await disk.open(`${logDirectory(root)}/${name}`, 'read') });
    } catch (thrown) {
      const code = errnoOf(thrown) ?? '';
      // Removed meanwhile, or no file. One that cannot be read is not left out unsaid.
      if (code !== 'ENOENT' && !NO_FILE.has(code)) throw thrown;
    }
  }
  return open;
}

interface SegmentsPlan {
  /** Null without an identity. */
  readonly uuid: string | null;
  readonly files: readonly Planned[];
  readonly summary: ExportSummary;
  readonly chainOf: (at: number) => Promise<string | null>;
}

async function planSegments(
  disk: Disk,
  root: string,
  query: Pick<ExportOptions, 'wrongAtEnd'>,
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
    // The newest may have no record yet.
    const last = sound.segments.at(-1);
    if (last && !ends.has(last)) ends.set(last, last.header.headerBytes);
    stopped = await query.wrongAtEnd();
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

/** Those of this log, whole, and of records that are in the export. */
async function usableCheckpoints(
  disk: Disk,
  root: string,
  { uuid, summary, chainOf }: SegmentsPlan,
  checkpoints: readonly OpenCheckpoint[],
): Promise<readonly Planned[]> {
  const usable: Planned[] = [];
  for (const { name, file } of checkpoints) {
    // By its open file: by name it may be gone.
    const reading = await examineCheckpoint(
      holding(disk, file),
      `${logDirectory(root)}/${name}`,
      uuid ?? '',
    );
    if (reading.kind === 'unusable') {
      refuseUnread(reading);
      continue;
    }
    const { position, chain } = reading.envelope;
    if (Number(name.slice(0, 20)) !== position) continue;
    if (position < summary.from || position > summary.to) continue;
    if ((await chainOf(position)) !== chain.toString('hex')) continue;
    usable.push({
      name: `log/${name}`,
      size: await file.size(),
      open: () => Promise.resolve(unclosed(file)),
    });
  }
  return usable;
}

/** The disk, on which every name leads to this file. */
const holding = (disk: Disk, file: DiskFile): Disk => ({
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

/** Whoever opened it closes it. */
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
    if (filled === 0) throw new Error(`${file.path} became shorter while it was read`);
    yield piece.subarray(0, filled);
    offset += filled;
  }
}

/** A file of the tar. Returns the SHA-256 of its content. */
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
