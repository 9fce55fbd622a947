/**
 * Checkpoints: what the owner's projection was at a position, so that a start need not replay
 * everything. A file of JSON lines: an envelope, the open streams, the owner's lines, and a last
 * line with the SHA-256 of everything before it. A checkpoint is a convenience; the log does not
 * need it, unless early segments were retired.
 */
import { createHash } from 'node:crypto';
import { reasonOf } from '../base/errors.js';
import type { Disk, DiskFile } from '../base/ports.js';
import { LogTooNew } from './errors.js';
import { checkpointName, logDirectory, removeIfThere, withFile } from './files.js';

const CHECKPOINT_FORMAT = 1;
/** Bytes of text that are made or hashed at once: about a millisecond of work. */
const SLICE_BYTES = 256 * 1024;

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
    for (const [stream, version] of envelope.streams) {
      await out.line(JSON.stringify([stream, version]));
    }
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

/** Renames a written checkpoint to its name and makes that durable. */
export async function publishCheckpoint(disk: Disk, root: string, aside: string): Promise<string> {
  const path = aside.replace(/\.new$/, '');
  await disk.rename(aside, path);
  await disk.syncDirectory(logDirectory(root));
  return path;
}

export type CheckpointReading =
  | { readonly kind: 'valid'; readonly envelope: CheckpointEnvelope; readonly lines: number }
  | { readonly kind: 'unusable'; readonly reason: string };

/**
 * Reads and checks a whole checkpoint file; its lines are not kept. Fails with LogTooNew when
 * its format is newer; anything else that is wrong with it makes it unusable.
 */
export async function examineCheckpoint(
  disk: Disk,
  path: string,
  uuid: string,
): Promise<CheckpointReading> {
  try {
    return { kind: 'valid', ...(await readChecked(disk, path, uuid)) };
  } catch (thrown) {
    if (thrown instanceof LogTooNew) throw thrown;
    return { kind: 'unusable', reason: reasonOf(thrown) };
  }
}

async function readChecked(
  disk: Disk,
  path: string,
  uuid: string,
): Promise<{ envelope: CheckpointEnvelope; lines: number }> {
  return withFile(disk, path, 'read', async (file) => {
    const size = await file.size();
    const trailer = await readTrailer(file, size);
    const hash = createHash('sha256');
    const head = new HeadLines();
    for await (const slice of slicesOf(file, trailer.offset)) {
      hash.update(slice);
      head.take(slice);
    }
    const found = hash.digest('hex');
    if (found !== trailer.sha256) throw new Error('its checksum does not match its content');
    const { root, ...envelope } = head.finish(trailer.lines);
    if (root !== uuid) throw new Error(`it belongs to the log ${root}`);
    return { envelope, lines: trailer.lines };
  });
}

async function* slicesOf(file: DiskFile, end: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < end;) {
    const slice = Buffer.allocUnsafe(Math.min(SLICE_BYTES, end - offset));
    const filled = await file.read(slice, offset);
    if (filled === 0) throw new Error('the file became shorter while it was read');
    offset += filled;
    yield slice.subarray(0, filled);
  }
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

/** Picks envelope and streams out of the passing bytes, and counts the lines behind them. */
class HeadLines {
  #text = '';
  #decoder = new TextDecoder('utf-8', { fatal: true });
  #envelope: FirstLine | null = null;
  readonly #streams = new Map<string, number>();
  #lines = 0;

  take(slice: Buffer): void {
    const parts = (this.#text + this.#decoder.decode(slice, { stream: true })).split('\n');
    this.#text = parts.pop() ?? '';
    for (const line of parts) this.#line(line);
  }

  #line(line: string): void {
    if (this.#envelope === null) this.#envelope = parseEnvelope(line);
    else if (this.#streams.size < this.#envelope.count) {
      const [stream, version] = parseStream(line);
      this.#streams.set(stream, version);
    } else this.#lines += 1;
  }

  finish(lines: number): CheckpointEnvelope & { readonly root: string } {
    if (this.#envelope === null) throw new Error('it is empty');
    if (this.#lines !== lines || this.#text !== '') {
      throw new Error(`it has ${this.#lines} lines instead of ${lines}`);
    }
    const { root, position, chain, streamsPosition } = this.#envelope;
    return { root, position, chain, streamsPosition, streams: this.#streams };
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

function parseStream(line: string): [string, number] {
  const pair: unknown = JSON.parse(line);
  if (Array.isArray(pair) && typeof pair[0] === 'string' && typeof pair[1] === 'number') {
    return [pair[0], pair[1]];
  }
  throw new Error('the table of open streams is malformed');
}

/** The owner's lines of a checked checkpoint, in slices. */
export async function* checkpointLines(
  disk: Disk,
  path: string,
  checked: { readonly envelope: CheckpointEnvelope; readonly lines: number },
): AsyncGenerator<readonly string[]> {
  const file = await disk.open(path, 'read');
  try {
    let skip = 1 + checked.envelope.streams.size;
    let left = checked.lines;
    let text = '';
    const decoder = new TextDecoder();
    for await (const slice of slicesOf(file, await file.size())) {
      const parts = (text + decoder.decode(slice, { stream: true })).split('\n');
      text = parts.pop() ?? '';
      const from = Math.min(skip, parts.length);
      const lines = parts.slice(from, from + left);
      skip -= from;
      left -= lines.length;
      if (lines.length > 0) yield lines;
    }
  } finally {
    await file.close();
  }
}
