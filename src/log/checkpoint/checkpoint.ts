/**
 * Checkpoints: what the owner's projection was at a position, so that a start need not replay
 * everything. A file of JSON lines: an envelope, the open streams, the owner's lines, and a last
 * line with the SHA-256 of everything before it. A checkpoint is a convenience; the log does not
 * need it, unless early segments were retired.
 */
import { createHash } from 'node:crypto';
import { HostFault, reasonOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { LogTooNew } from '../errors.js';
import {
  checkpointName,
  logDirectory,
  NO_FILE,
  removeIfThere,
  withFile,
  type NamedAt,
} from '../files.js';

const CHECKPOINT_FORMAT = 2;
/** Bytes of text that are made or hashed at once: about a millisecond of work. */
const SLICE_BYTES = 256 * 1024;
/** Open streams in one line: few lines are parsed faster than many. */
const STREAMS_IN_A_LINE = 256;

export interface CheckpointEnvelope {
  /** The first position that is not contained. */
  readonly position: number;
  /** Chain hash of the record before `position`. */
  readonly chain: Buffer;
  /**
   * The stream versions are as of this position, at or above `position`. Records between the two
   * set their streams again when they are replayed.
   */
  readonly streamsPosition: number;
  /** The version that the next record of each open stream gets. */
  readonly streams: ReadonlyMap<string, number>;
}

/** Cuts text into slices of bytes; counts and hashes what goes by. */
class SliceWriter {
  readonly hash = createHash('sha256');
  #pending: string[] = [];
  #pendingLength = 0;
  #offset = 0;

  constructor(private readonly file: DiskFile) {}

  /** Takes a line; writes once a slice is full. */
  async line(text: string): Promise<void> {
    this.#pending.push(text, '\n');
    this.#pendingLength += text.length + 1;
    if (this.#pendingLength >= SLICE_BYTES) await this.write();
  }

  async write(): Promise<void> {
    const bytes = Buffer.from(this.#pending.join(''), 'utf8');
    this.#pending = [];
    this.#pendingLength = 0;
    this.hash.update(bytes);
    await this.file.write(bytes, this.#offset);
    this.#offset += bytes.length;
  }
}

/**
 * Writes a checkpoint aside and syncs it; `publishCheckpoint` gives it its name. Answers the path
 * it was written to.
 */
export async function writeCheckpointAside(
  disk: Disk,
  root: string,
  uuid: string,
  envelope: CheckpointEnvelope,
  lines: Iterable<string>,
): Promise<string> {
  const path = `${logDirectory(root)}/${checkpointName(envelope.position)}.new`;
  await removeIfThere(disk, path);
  await withFile(disk, path, 'create', async (file) => {
    const out = new SliceWriter(file);
    await out.line(
      JSON.stringify({
        format: CHECKPOINT_FORMAT,
        root: uuid,
        position: envelope.position,
        chain: envelope.chain.toString('hex'),
        streamsPosition: envelope.streamsPosition,
        streams: envelope.streams.size,
      }),
    );
    for (const line of streamLines(envelope.streams)) await out.line(line);
    let count = 0;
    for (const line of lines) {
      if (line.includes('\n')) throw new RangeError('a checkpoint line must not hold a newline');
      await out.line(line);
      count += 1;
    }
    await out.write();
    await out.line(JSON.stringify({ lines: count, sha256: out.hash.copy().digest('hex') }));
    await out.write();
    await file.sync();
  });
  return path;
}

function* streamLines(streams: ReadonlyMap<string, number>): Iterable<string> {
  let line: (string | number)[] = [];
  for (const [stream, version] of streams) {
    line.push(stream, version);
    if (line.length < STREAMS_IN_A_LINE * 2) continue;
    yield JSON.stringify(line);
    line = [];
  }
  if (line.length > 0) yield JSON.stringify(line);
}

/** Renames a written checkpoint to its name and makes that durable. */
export async function publishCheckpoint(disk: Disk, root: string, aside: string): Promise<string> {
  const path = aside.replace(/\.new$/, '');
  await disk.rename(aside, path);
  await disk.syncDirectory(logDirectory(root));
  return path;
}

/** A checkpoint that was found sound. */
export interface SoundCheckpoint {
  readonly kind: 'valid';
  readonly name: string;
  readonly envelope: CheckpointEnvelope;
  /** How many lines the owner wrote. */
  readonly lines: number;
  /** Their offsets in the file, in bytes. */
  readonly start: number;
  readonly end: number;
}

export interface UnusableCheckpoint {
  readonly kind: 'unusable';
  readonly reason: string;
  readonly cause: unknown;
}

export type CheckpointReading = SoundCheckpoint | UnusableCheckpoint;

/**
 * A checkpoint that is dropped for good must have been read: one that the disk does not give now may
 * be sound.
 *
 * Fails with a HostFault when it could not be read. One that is gone or no file is just unusable.
 */
export function refuseUnread({ cause }: UnusableCheckpoint): void {
  if (!(cause instanceof HostFault)) return;
  if (cause.code !== 'ENOENT' && !NO_FILE.has(cause.code)) throw cause;
}

/** The owner's lines as in the file: UTF-8, each ended by a newline. */
export interface CheckpointText {
  readonly lines: number;
  readonly bytes: Buffer;
}

/**
 * Reads and checks a whole checkpoint file; its lines are not kept. Fails with LogTooNew when
 * its format is newer; anything else that is wrong with it makes it unusable.
 */
export async function examineCheckpoint(
  disk: Disk,
  root: string,
  named: NamedAt,
  uuid: string,
): Promise<CheckpointReading> {
  const reading = await read(disk, root, named, uuid, () => Buffer.allocUnsafeSlow(SLICE_BYTES));
  return reading.kind === 'valid' ? reading.sound : reading;
}

/** As `examineCheckpoint`, and keeps the owner's lines. */
export async function readCheckpoint(
  disk: Disk,
  root: string,
  named: NamedAt,
  uuid: string,
): Promise<(SoundCheckpoint & { readonly text: CheckpointText }) | UnusableCheckpoint> {
  const reading = await read(disk, root, named, uuid, (size) => Buffer.allocUnsafeSlow(size));
  if (reading.kind === 'unusable') return reading;
  const { sound, bytes } = reading;
  return { ...sound, text: { lines: sound.lines, bytes: bytes.subarray(sound.start, sound.end) } };
}

type Read =
  | { readonly kind: 'valid'; readonly sound: SoundCheckpoint; readonly bytes: Buffer }
  | UnusableCheckpoint;

async function read(
  disk: Disk,
  root: string,
  named: NamedAt,
  uuid: string,
  allocate: (size: number) => Buffer,
): Promise<Read> {
  try {
    return await withFile(disk, `${logDirectory(root)}/${named.name}`, 'read', (file) =>
      readChecked(file, named, uuid, allocate),
    );
  } catch (thrown) {
    if (thrown instanceof LogTooNew) throw thrown;
    return { kind: 'unusable', reason: reasonOf(thrown), cause: thrown };
  }
}

/** Reads slice by slice into what was allocated, or over and over into the same small buffer. */
async function readChecked(
  file: DiskFile,
  named: NamedAt,
  uuid: string,
  allocate: (size: number) => Buffer,
): Promise<Extract<Read, { kind: 'valid' }>> {
  const trailer = await readTrailer(file, await file.size());
  const bytes = allocate(trailer.offset);
  const keeps = bytes.length >= trailer.offset;
  const hash = createHash('sha256');
  const head = new HeadLines();
  let fault: Error | null = null;
  for (let offset = 0; offset < trailer.offset;) {
    const length = Math.min(SLICE_BYTES, trailer.offset - offset);
    const into = keeps ? bytes.subarray(offset, offset + length) : bytes.subarray(0, length);
    const filled = await file.read(into, offset);
    if (filled === 0) throw new Error('the file became shorter while it was read');
    const slice = into.subarray(0, filled);
    hash.update(slice);
    try {
      if (fault === null) head.take(slice);
    } catch (thrown) {
      fault = thrown instanceof Error ? thrown : new Error(String(thrown));
    }
    offset += filled;
  }
  if (hash.digest('hex') !== trailer.sha256) {
    throw new Error('its checksum does not match its content');
  }
  // Not before: a flipped bit could say that a later release has written this.
  if (fault !== null) throw fault;
  const { root, start, envelope } = head.finish(trailer.lines);
  if (root !== uuid) throw new Error(`it belongs to the log ${root}`);
  if (envelope.position !== named.position) {
    throw new Error(`it is of position ${envelope.position}`);
  }
  const { lines, offset: end } = trailer;
  const { name } = named;
  return { kind: 'valid', sound: { kind: 'valid', name, envelope, lines, start, end }, bytes };
}

interface Trailer {
  readonly offset: number;
  readonly lines: number;
  readonly sha256: string;
}

async function readTrailer(file: DiskFile, size: number): Promise<Trailer> {
  const start = Math.max(0, size - 256);
  const bytes = Buffer.alloc(size - start);
  await file.read(bytes, start);
  const text = bytes.toString('latin1');
  const parts = /\n\{"lines":(\d{1,15}),"sha256":"([0-9a-f]{64})"\}\n$/.exec(text);
  if (!parts) throw new Error('its last line is missing or malformed');
  return { offset: start + parts.index + 1, lines: Number(parts[1]), sha256: parts[2] ?? '' };
}

interface FirstLine extends Omit<CheckpointEnvelope, 'streams'> {
  readonly root: string;
  /** How many lines of open streams follow. */
  readonly count: number;
}

const NEWLINE = 0x0a;

/** Parses envelope and streams, and counts the lines after them. */
class HeadLines {
  /** The beginning of a line whose end is in the next slice. */
  #pending: Buffer[] = [];
  #envelope: FirstLine | null = null;
  readonly #streams = new Map<string, number>();
  #lines = 0;
  #passed = 0;
  #start = 0;
  #endsWithNewline = true;

  take(slice: Buffer): void {
    let from = 0;
    while (from < slice.length && !this.#isComplete()) {
      const end = slice.indexOf(NEWLINE, from);
      const part = slice.subarray(from, end === -1 ? slice.length : end);
      from = end === -1 ? slice.length : end + 1;
      // A copy: the slice's memory may be used again.
      this.#pending.push(Buffer.from(part));
      if (end === -1) continue;
      this.#line(Buffer.concat(this.#pending).toString('utf8'));
      this.#pending = [];
      this.#start = this.#passed + from;
    }
    for (
      let end = slice.indexOf(NEWLINE, from);
      end !== -1;
      end = slice.indexOf(NEWLINE, end + 1)
    ) {
      this.#lines += 1;
    }
    this.#passed += slice.length;
    this.#endsWithNewline = slice.at(-1) === NEWLINE;
  }

  #isComplete(): boolean {
    return this.#envelope !== null && this.#streams.size >= this.#envelope.count;
  }

  #line(line: string): void {
    if (this.#envelope === null) this.#envelope = parseEnvelope(line);
    else parseStreams(line, this.#streams);
  }

  finish(lines: number): {
    readonly root: string;
    readonly start: number;
    readonly envelope: CheckpointEnvelope;
  } {
    if (this.#envelope === null) throw new Error('it is empty');
    if (!this.#isComplete() || this.#lines !== lines || !this.#endsWithNewline) {
      throw new Error(`it has ${this.#lines} lines instead of ${lines}`);
    }
    const { root, position, chain, streamsPosition } = this.#envelope;
    const envelope = { position, chain, streamsPosition, streams: this.#streams };
    return { root, start: this.#start, envelope };
  }
}

function parseEnvelope(line: string): FirstLine {
  const fields: unknown = JSON.parse(line);
  const of = new Map<string, unknown>(
    typeof fields === 'object' && fields !== null ? Object.entries(fields) : [],
  );
  const count = (key: string): number => {
    const value = of.get(key);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw new Error(`"${key}" in its first line is missing or malformed`);
    }
    return value;
  };
  const text = (key: string, shape: RegExp): string => {
    const value = of.get(key);
    if (typeof value === 'string' && shape.test(value)) return value;
    throw new Error(`"${key}" in its first line is missing or malformed`);
  };
  if (count('format') > CHECKPOINT_FORMAT) {
    throw new LogTooNew('a checkpoint', `a later release (checkpoint format ${count('format')})`);
  }
  return {
    root: text('root', /^[0-9a-f-]{36}$/),
    position: count('position'),
    chain: Buffer.from(text('chain', /^[0-9a-f]{64}$/), 'hex'),
    streamsPosition: count('streamsPosition'),
    count: count('streams'),
  };
}

function parseStreams(line: string, into: Map<string, number>): void {
  const pairs: unknown = JSON.parse(line);
  if (!Array.isArray(pairs) || pairs.length === 0 || pairs.length % 2 !== 0) {
    throw new Error('the table of open streams is malformed');
  }
  const flat: readonly unknown[] = pairs;
  for (let index = 0; index < flat.length; index += 2) {
    const stream = flat[index];
    const version = flat[index + 1];
    if (typeof stream !== 'string' || typeof version !== 'number') {
      throw new Error('the table of open streams is malformed');
    }
    into.set(stream, version);
  }
}

/** The owner's lines of a checked checkpoint, in slices, for readers that keep none of them. */
export async function* checkpointLines(
  disk: Disk,
  path: string,
  { start, end }: Pick<SoundCheckpoint, 'start' | 'end'>,
): AsyncGenerator<readonly string[]> {
  const file = await disk.open(path, 'read');
  try {
    let text = '';
    const decoder = new TextDecoder();
    for (let offset = start; offset < end;) {
      const slice = Buffer.allocUnsafe(Math.min(SLICE_BYTES, end - offset));
      const filled = await file.read(slice, offset);
      if (filled === 0) throw new Error('the file became shorter while it was read');
      offset += filled;
      const parts = (text + decoder.decode(slice.subarray(0, filled), { stream: true })).split(
        '\n',
      );
      text = parts.pop() ?? '';
      if (parts.length > 0) yield parts;
    }
  } finally {
    await file.close();
  }
}
