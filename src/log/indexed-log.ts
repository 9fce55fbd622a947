/**
 * A log by its indexes: questions about one stream, one position or one time are answered without
 * reading what lies between. Never writes, takes no lock. An index is a hint: every record that
 * is handed out has had its checksum, position and stream checked, and where an index is missing
 * or wrong the segment's heads are read instead.
 *
 * Records that nobody asks for are not checked: that is what `verifyLog` is for.
 */
import { assert } from '../base/assert.js';
import { errnoOf, reasonOf } from '../base/errors.js';
import type { Disk, DiskFile } from '../base/ports.js';
import { position, type Position } from '../base/units.js';
import { claimedLength, decodeRecord, isIntact, positionOf } from './codec.js';
import { LogDamaged } from './errors.js';
import { withFile } from './files.js';
import { RECORD } from './format.js';
import { walkHeads } from './heads.js';
import { makeIndex, readIndex, tellDamage } from './index-files.js';
import { readIdentityIfSound } from './identity.js';
import { startOf } from './recovery.js';
import { SegmentScan } from './scan.js';
import { IndexUnusable, SegmentIndex, type BlockPlace } from './segment-index.js';
import { surveySound, type SurveyedSegment } from './survey.js';
import type { LogRecord } from './types.js';

/** Retiring takes the oldest segments away; after so many tries it is not a race any more. */
const TRIES = 3;
/** Records this near to one another are read at once. */
const GAP_BYTES = 64 * 1024;
const READ_BYTES_MAX = 1024 * 1024;

export interface IndexedLogOptions {
  readonly disk: Disk;
  readonly root: string;
  /** Told once that an index could not be used, and why. */
  readonly onNotice?: (text: string) => void;
}

/** A segment, open for reading, and its index. */
export interface OpenIndexed {
  readonly index: SegmentIndex;
  /** Records at these offsets, rising; with `stream`, of that stream alone. */
  records(offsets: readonly number[], stream?: string): Promise<LogRecord[]>;
  /** Records from a block's beginning on, until `take` answers false. */
  walk(from: BlockPlace, take: (record: LogRecord) => boolean): Promise<void>;
  /** Offset of the record at a position; behind the last one for the position behind it. */
  offsetAt(at: number): Promise<number>;
}

export class IndexedLog {
  readonly #disk: Disk;
  readonly #root: string;
  readonly #onNotice: ((text: string) => void) | undefined;
  #hasNoticed = false;

  constructor({ disk, root, onNotice }: IndexedLogOptions) {
    this.#disk = disk;
    this.#root = root;
    this.#onNotice = onNotice;
  }

  /** Fails with LogDamaged at a header that is not sound; LogTooNew. */
  async segments(): Promise<readonly SurveyedSegment[]> {
    for (let left = TRIES; ; left -= 1) {
      try {
        const identity = await readIdentityIfSound(this.#disk, this.#root);
        return (await surveySound(this.#disk, this.#root, identity)).segments;
      } catch (thrown) {
        if (errnoOf(thrown) !== 'ENOENT' || left === 0) throw thrown;
      }
    }
  }

  /**
   * Runs with a segment's index. When it leads astray, `use` runs again with one that was made
   * from the segment: it must begin anew each time.
   *
   * @param known what an earlier run was given of the newest segment
   */
  async within<Value>(
    segment: SurveyedSegment,
    next: SurveyedSegment | null,
    use: (open: OpenIndexed) => Promise<Value>,
    known: SegmentIndex | null = null,
  ): Promise<Value> {
    return withFile(this.#disk, segment.path, 'read', async (file) => {
      try {
        const index = next ? await readIndex(this.#disk, this.#root, segment, next) : known;
        if (index) return await use(new Indexed(file, segment, index));
      } catch (thrown) {
        if (!(thrown instanceof IndexUnusable)) throw thrown;
        this.#notice(segment, thrown);
      }
      const made = await makeIndex(file, segment, next);
      assert(made !== null, 'nobody gives it up');
      const index = new SegmentIndex(made);
      if (next === null) await refuseContradiction(file, segment, index);
      try {
        return await use(new Indexed(file, segment, index));
      } catch (thrown) {
        if (!(thrown instanceof IndexUnusable)) throw thrown;
        return tellDamage(file, segment, next);
      }
    });
  }

  /** The records of one stream, oldest first. */
  async stream(stream: string, from = 0, to = Infinity): Promise<LogRecord[]> {
    const segments = await this.segments();
    const found: LogRecord[] = [];
    for (const [at, segment] of segments.entries()) {
      const next = segments[at + 1] ?? null;
      if (segment.header.firstPosition >= to) break;
      if (next !== null && next.header.firstPosition <= from) continue;
      found.push(...(await this.#streamIn(segment, next, stream)));
    }
    return found.filter((record) => record.position >= from && record.position < to);
  }

  async #streamIn(
    segment: SurveyedSegment,
    next: SurveyedSegment | null,
    stream: string,
  ): Promise<LogRecord[]> {
    return withFile(this.#disk, segment.path, 'read', async (file) => {
      try {
        const index = next && (await readIndex(this.#disk, this.#root, segment, next));
        if (index) {
          const { offsets = [] } = index.part(stream) ?? {};
          return await new Indexed(file, segment, index).records(offsets, stream);
        }
      } catch (thrown) {
        if (!(thrown instanceof IndexUnusable)) throw thrown;
        this.#notice(segment, thrown);
      }
      return scanForStream(file, segment, next, stream);
    });
  }

  #notice(segment: SurveyedSegment, thrown: IndexUnusable): void {
    if (this.#hasNoticed) return;
    this.#hasNoticed = true;
    this.#onNotice?.(
      `the index of ${segment.name} is not used: ${thrown.message}. The segment is read instead`,
    );
  }

  /** The position behind the last whole append. */
  async next(segments: readonly SurveyedSegment[]): Promise<Position> {
    const last = segments.at(-1);
    if (last === undefined) return position(0);
    return withFile(this.#disk, last.path, 'read', async (file) => {
      const end = await walkHeads(file, last, () => true, { checks: true });
      return position(end.position);
    });
  }
}

/**
 * Where the newest segment seems to end may stand a record that is whole and does not belong
 * there: never a torn write.
 */
async function refuseContradiction(
  file: DiskFile,
  segment: SurveyedSegment,
  index: SegmentIndex,
): Promise<void> {
  const start =
    index.records === 0
      ? startOf(segment)
      : { offset: index.end, position: index.nextPosition, chain: index.chain };
  const scan = new SegmentScan(file, start);
  await scan.next();
  const { stop, reached } = scan;
  if (stop?.kind !== 'contradiction') return;
  const { offset, position: at } = reached;
  throw new LogDamaged({ segment: segment.name, offset, position: position(at) }, stop.why);
}

async function scanForStream(
  file: DiskFile,
  segment: SurveyedSegment,
  next: SurveyedSegment | null,
  stream: string,
): Promise<LogRecord[]> {
  const name = Buffer.from(stream, 'latin1');
  const found: LogRecord[] = [];
  let isSound = true;
  const end = await walkHeads(
    file,
    segment,
    (bytes, at, _offset, padded) => {
      if (!isNamed(bytes, at, name)) return true;
      isSound = isIntact(bytes, at, padded);
      if (isSound) found.push(decodeRecord(bytes, at));
      return isSound;
    },
    // Nothing else says where the newest segment ends.
    { checks: next === null },
  );
  if (!isSound || (next !== null && end.position !== next.header.firstPosition)) {
    return tellDamage(file, segment, next);
  }
  return found.filter((record) => record.position < end.position);
}

function isNamed(bytes: Buffer, at: number, name: Buffer): boolean {
  if (bytes.readUInt16LE(at + RECORD.streamLength) !== name.length) return false;
  const start = at + RECORD.headBytes;
  // Names differ at their end most often.
  for (let index = name.length - 1; index >= 0; index -= 1) {
    if (bytes[start + index] !== name[index]) return false;
  }
  return true;
}

class Indexed implements OpenIndexed {
  constructor(
    private readonly file: DiskFile,
    private readonly segment: SurveyedSegment,
    readonly index: SegmentIndex,
  ) {}

  async records(offsets: readonly number[], stream?: string): Promise<LogRecord[]> {
    const found: LogRecord[] = [];
    for (let first = 0; first < offsets.length;) {
      const start = offsets[first] ?? 0;
      let last = first;
      while (isNear(offsets, last, start)) last += 1;
      // The length of the last one is not known: most are shorter than this.
      const wanted = (offsets[last] ?? 0) - start + 4096;
      let bytes = Buffer.allocUnsafe(wanted);
      let filled = await this.file.read(bytes, start);
      const needed = (offsets[last] ?? 0) - start + lengthAt(bytes, wanted - 4096, filled);
      if (needed > filled) {
        bytes = Buffer.allocUnsafe(needed);
        filled = await this.file.read(bytes, start);
      }
      for (let index = first; index <= last; index += 1) {
        found.push(this.#decode(bytes, (offsets[index] ?? 0) - start, filled, stream));
      }
      first = last + 1;
    }
    return found;
  }

  #decode(bytes: Buffer, at: number, filled: number, stream: string | undefined): LogRecord {
    const padded = lengthAt(bytes, at, filled);
    if (at + padded > filled || !isIntact(bytes, at, padded)) {
      throw new IndexUnusable('no whole record stands where it points');
    }
    const found = positionOf(bytes, at);
    const isOurs = found >= this.index.firstPosition && found < this.index.nextPosition;
    const record = decodeChecked(bytes, at);
    if (!isOurs || (stream !== undefined && record.stream !== stream)) {
      throw new IndexUnusable('another record stands where it points');
    }
    return record;
  }

  async walk(from: BlockPlace, take: (record: LogRecord) => boolean): Promise<void> {
    await walkHeads(
      this.file,
      this.segment,
      (bytes, at, offset, padded) => {
        if (offset >= this.index.end) return false;
        if (!isIntact(bytes, at, padded)) throw new IndexUnusable('a record fails its checksum');
        return take(decodeChecked(bytes, at));
      },
      { from, breathes: true },
    );
  }

  async offsetAt(wanted: number): Promise<number> {
    if (wanted >= this.index.nextPosition) return this.index.end;
    let found: number | null = null;
    const from = this.index.blockOf(wanted);
    await walkHeads(
      this.file,
      this.segment,
      (bytes, at, offset) => {
        if (positionOf(bytes, at) < wanted) return true;
        found = offset;
        return false;
      },
      { from, breathes: true },
    );
    if (found === null) throw new IndexUnusable('no record stands where a block begins');
    return found;
  }
}

function isNear(offsets: readonly number[], at: number, start: number): boolean {
  const next = offsets[at + 1];
  const here = offsets[at];
  if (next === undefined || here === undefined) return false;
  return next - here <= GAP_BYTES && next - start <= READ_BYTES_MAX;
}

function lengthAt(bytes: Buffer, at: number, filled: number): number {
  const padded = filled - at < RECORD.headBytes ? null : claimedLength(bytes, at);
  if (padded === null) throw new IndexUnusable('no record stands where it points');
  return padded;
}

function decodeChecked(bytes: Buffer, at: number): LogRecord {
  try {
    return decodeRecord(bytes, at);
  } catch (thrown) {
    throw new IndexUnusable(reasonOf(thrown), { cause: thrown });
  }
}
