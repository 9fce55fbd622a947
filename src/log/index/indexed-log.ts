/**
 * A log by its indexes: questions about one stream, one position or one time are answered without
 * reading what lies between. Never writes, takes no lock. An index is a hint: every record that
 * is handed out has had its checksum, position and stream checked, and where an index is missing
 * or wrong the segment's heads are read instead.
 *
 * Records that are not requested are not checked: that is what `verifyLog` is for.
 */
import pLimit from 'p-limit';
import { assert } from '../../base/assert.js';
import { errnoOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { position, type Position } from '../../base/units.js';
import { isUnusable } from '../format/codec.js';
import type { LogDamaged } from '../errors.js';
import { withFile } from '../files.js';
import { walkHeads } from '../read/heads.js';
import { IndexCache } from './index-cache.js';
import { IndexUnusable } from './index-head.js';
import { IndexedSegment, type OpenIndexed } from './indexed-segment.js';
import { makeIndex } from './index-files.js';
import { readIdentityIfSound } from '../root/identity.js';
import { failAtDamage, goesOn, lossBehind, requireSound } from '../read/log-end.js';
import { NewestSegment } from './newest-segment.js';
import { startOf, type ScanPlace } from '../read/scan.js';
import { SegmentIndex } from './segment-index.js';
import { NamesToFind } from '../format/stream-name.js';
import { scanForStreams } from './stream-scan.js';
import { listSoundSegments, type KnownHeaders, type ListedSegment } from '../read/segment-list.js';
import type { LogRecord } from '../types.js';

/** Retiring takes the oldest segments away; after so many tries it is not a race any more. */
const TRIES = 3;
/** As many as the threads for files keep busy, and a segment that must be searched takes a megabyte. */
const SEGMENTS_AT_ONCE = 16;

export interface IndexedLogOptions {
  readonly disk: Disk;
  readonly root: string;
  /** Called once when an index could not be used, with the reason. */
  readonly onNotice?: (text: string) => void;
  /** Lists the segments once: for who asks one thing. */
  readonly asksOnce?: boolean;
  /**
   * Called once for damage in the newest segment: queries are then answered from the records before
   * it. Without this callback, a caller cannot know that the log went on.
   */
  readonly onDamage?: (damage: LogDamaged) => void;
}

/** A segment and the next one; null after the newest. */
export interface WithNext {
  readonly segment: ListedSegment;
  readonly next: ListedSegment | null;
}

/** Where a text may be; null stretches: anywhere. */
export interface MaybeHolding extends WithNext {
  /** Their numbers, rising (index-format.ts). */
  readonly stretches: readonly number[] | null;
}

type Sealed = WithNext & { readonly next: ListedSegment };

const withNext = (segments: readonly ListedSegment[]): readonly WithNext[] =>
  segments.map((segment, at) => ({ segment, next: segments[at + 1] ?? null }));

/** Positions; all by default. */
export interface PositionRange {
  readonly from?: number | undefined;
  /** First position that is not wanted. */
  readonly to?: number | undefined;
}

export interface StreamsQuery extends PositionRange {
  /** No name is used again after its end: where all have ended, the newest segment is not read. */
  readonly endOnce?: boolean;
}

export class IndexedLog {
  readonly #disk: Disk;
  readonly #root: string;
  readonly #indexes: IndexCache;
  readonly #headers: KnownHeaders = new Map();
  readonly #asksOnce: boolean;
  #surveyed: readonly ListedSegment[] | null = null;
  #epoch: number | null = null;
  /** Null `held`: too large, and read anew by each question. */
  #newest: { readonly segment: string; readonly held: NewestSegment | null } | null = null;
  readonly #onNotice: ((text: string) => void) | undefined;
  readonly #onDamage: ((damage: LogDamaged) => void) | undefined;
  #hasNoticed = false;
  #hasReportedDamage = false;
  /** First positions of segments whose index led astray. */
  readonly #distrusted = new Set<number>();

  constructor({ disk, root, asksOnce, onNotice, onDamage }: IndexedLogOptions) {
    this.#disk = disk;
    this.#root = root;
    this.#asksOnce = asksOnce === true;
    this.#indexes = new IndexCache(disk, root);
    this.#onNotice = onNotice;
    this.#onDamage = onDamage;
  }

  /**
   * Asks again, of a new list of segments, when one that was listed is retired before it is read.
   * The question must begin anew each time.
   */
  async acrossRetiring<Value>(ask: () => Promise<Value>): Promise<Value> {
    for (let left = TRIES - 1; ; left -= 1) {
      try {
        return await ask();
      } catch (thrown) {
        if (errnoOf(thrown) !== 'ENOENT' || left === 0) throw thrown;
        this.#surveyed = null;
      }
    }
  }

  /** Fails with LogDamaged at a header that is not sound; LogTooNew. */
  async segments(): Promise<readonly ListedSegment[]> {
    if (this.#surveyed !== null) return this.#surveyed;
    const found = await this.acrossRetiring(() => this.#survey());
    if (this.#asksOnce) this.#surveyed = found;
    return found;
  }

  async #survey(): Promise<readonly ListedSegment[]> {
    const identity = await readIdentityIfSound(this.#disk, this.#root);
    const epoch = identity?.epoch ?? null;
    // A repair may give a name to another segment, and raises the epoch.
    if (epoch === null || epoch !== this.#epoch) {
      this.#headers.clear();
      this.#newest = null;
    }
    this.#epoch = epoch;
    return (await listSoundSegments(this.#disk, this.#root, identity, this.#headers)).segments;
  }

  /**
   * Runs with a segment's index. If the index is wrong, `use` runs again with one made from the
   * segment, so it must begin anew each time. Offsets from a previous run must not be reused.
   *
   * Fails  LogDamaged; IndexUnusable where the segment is sound
   *
   * @param known what an earlier run was given of the newest segment
   */
  async within<Value>(
    segment: ListedSegment,
    next: ListedSegment | null,
    use: (open: OpenIndexed) => Promise<Value>,
    known: SegmentIndex | null = null,
  ): Promise<Value> {
    return withFile(this.#disk, segment.path, 'read', async (file) => {
      try {
        const index = next ? await this.#readIndex(segment, next) : known;
        if (index) return await use(new IndexedSegment(file, index));
      } catch (thrown) {
        if (!(thrown instanceof IndexUnusable)) throw thrown;
        this.#notice(segment, thrown);
      }
      const index =
        next === null ? await this.#newestIndex(file, segment) : await indexOf(file, segment, next);
      try {
        return await use(new IndexedSegment(file, index));
      } catch (thrown) {
        if (!(thrown instanceof IndexUnusable)) throw thrown;
        await requireSound(file, segment, next);
        throw thrown;
      }
    });
  }

  /**
   * Segments that may hold one of the texts, and all of those whose index cannot tell. For texts
   * that `IndexedTexts` of this version makes known.
   */
  async segmentsWith(
    texts: readonly string[],
    version: number,
    range: PositionRange = {},
  ): Promise<readonly MaybeHolding[]> {
    const found = await this.#asked(range, ({ segment, next }) =>
      this.#indexes.stretches(segment, next, texts, version),
    );
    return found
      .map(({ place, answer }) => ({ ...place, stretches: answer }))
      .filter(({ stretches }) => stretches?.length !== 0);
  }

  /**
   * A position that no record before it is as young as the time: all that are stand behind it. A
   * clock that was set back only makes it an earlier one than need be.
   */
  async noneBefore(time: bigint): Promise<Position> {
    const found = await this.#asked({}, ({ segment, next }) => this.#indexes.head(segment, next));
    const first = found.find(({ answer }) => answer === null || answer.maxTime >= time);
    return position(first?.place.segment.header.firstPosition ?? 0);
  }

  /** The answer of each segment's index; null if it has none. */
  async #asked<Answer>(
    range: PositionRange,
    ask: (sealed: Sealed) => Promise<Answer | null>,
  ): Promise<readonly { readonly place: WithNext; readonly answer: Answer | null }[]> {
    const all = await this.#segmentsIn(range);
    return pLimit(SEGMENTS_AT_ONCE).map(all, async (place) => {
      const { segment, next } = place;
      try {
        return { place, answer: next === null ? null : await ask({ segment, next }) };
      } catch (thrown) {
        if (!(thrown instanceof IndexUnusable)) throw thrown;
        this.#notice(segment, thrown);
        return { place, answer: null };
      }
    });
  }

  async #segmentsIn({ from = 0, to = Infinity }: PositionRange): Promise<readonly WithNext[]> {
    return withNext(await this.segments()).filter(
      ({ segment, next }) =>
        segment.header.firstPosition < to && (next?.header.firstPosition ?? Infinity) > from,
    );
  }

  /** The records of these streams, oldest first. */
  async streams(streams: ReadonlySet<string>, query: StreamsQuery = {}): Promise<LogRecord[]> {
    if (streams.size === 0) return [];
    const { from = 0, to = Infinity } = query;
    const wanted = await this.#segmentsIn(query);
    // Most segments have nothing of a stream; to see that is waiting for files, one for each.
    const names = new NamesToFind(streams);
    const parts = await pLimit(SEGMENTS_AT_ONCE).map(
      wanted.filter((place) => place.next !== null && !this.#surelyHasNone(place, names)),
      (place) => this.#streamsIn(place, streams, names),
    );
    const newest = wanted.at(-1);
    const isComplete = query.endOnce === true && allClosed(streams, parts.flat());
    if (newest?.next === null && !isComplete) {
      parts.push(await this.#streamsIn(newest, streams, names));
    }
    return parts.flat().filter((record) => record.position >= from && record.position < to);
  }

  /** By what was read before, so that it takes no turn of the event loop. */
  #surelyHasNone({ segment, next }: WithNext, names: NamesToFind): boolean {
    const head = next && this.#isTrusted(segment) ? this.#indexes.knownHead(segment, next) : null;
    return head?.among(names).length === 0;
  }

  async #streamsIn(
    { segment, next }: WithNext,
    streams: ReadonlySet<string>,
    names: NamesToFind,
  ): Promise<LogRecord[]> {
    const opened = <Value>(use: (file: DiskFile) => Promise<Value>): Promise<Value> =>
      withFile(this.#disk, segment.path, 'read', use);
    try {
      if (next !== null) {
        const head = this.#isTrusted(segment) ? await this.#indexes.head(segment, next) : null;
        if (head?.among(names).length === 0) return [];
      }
      const index = next && (await this.#readIndex(segment, next));
      if (index) {
        const offsets = index.head.among(names).flatMap((name) => index.part(name)?.offsets ?? []);
        if (offsets.length === 0) return [];
        offsets.sort((one, other) => one - other);
        return await opened((file) => new IndexedSegment(file, index).records(offsets, streams));
      }
    } catch (thrown) {
      if (!(thrown instanceof IndexUnusable)) throw thrown;
      this.#notice(segment, thrown);
    }
    return opened(async (file) => {
      const held = next === null ? await this.#newestIn(file, segment) : null;
      if (held === null) return scanForStreams(file, segment, next, streams);
      return orFailAtDamage(file, segment, () => held.records(streams));
    });
  }

  async #newestIndex(file: DiskFile, segment: ListedSegment): Promise<SegmentIndex> {
    const held = await this.#newestIn(file, segment);
    if (held !== null) return held.index();
    const index = await indexOf(file, segment, null);
    await goesOn(file, segment, endOf(segment, index));
    return index;
  }

  /** Records of the newest segment that hold these bytes; null when it is too large to be held. */
  newestHolding(segment: ListedSegment, needle: Buffer): Promise<readonly LogRecord[] | null> {
    return withFile(this.#disk, segment.path, 'read', async (file) => {
      const held = await this.#newestIn(file, segment);
      return held && orFailAtDamage(file, segment, () => [...held.holding(needle)]);
    });
  }

  /** Read once, and again when something was appended. */
  async #newestIn(file: DiskFile, segment: ListedSegment): Promise<NewestSegment | null> {
    const kept = this.#newest?.segment === segment.name ? this.#newest : null;
    if (kept?.held && !(await goesOn(file, segment, kept.held.end))) return kept.held;
    const held = await NewestSegment.read(file, segment);
    if (held !== null) await goesOn(file, segment, held.end);
    this.#newest = { segment: segment.name, held };
    // The bytes after the end of one that is too large are read only once.
    if (held !== null || kept === null) {
      await this.#tellLoss(file, segment, held?.end ?? startOf(segment));
    }
    return held;
  }

  async #tellLoss(file: DiskFile, segment: ListedSegment, end: ScanPlace): Promise<void> {
    if (this.#onDamage === undefined || this.#hasReportedDamage) return;
    const damage = await lossBehind(file, segment, end);
    if (damage === null) return;
    this.#hasReportedDamage = true;
    this.#onDamage(damage);
  }

  #isTrusted({ header }: ListedSegment): boolean {
    return !this.#distrusted.has(header.firstPosition);
  }

  async #readIndex(segment: ListedSegment, next: ListedSegment): Promise<SegmentIndex | null> {
    return this.#isTrusted(segment) ? this.#indexes.read(segment, next) : null;
  }

  #notice(segment: ListedSegment, thrown: IndexUnusable): void {
    this.#distrusted.add(segment.header.firstPosition);
    if (this.#hasNoticed) return;
    this.#hasNoticed = true;
    this.#onNotice?.(
      `the index of ${segment.name} is not used: ${thrown.message}. The segment is read instead`,
    );
  }

  /** The position after the last whole append. */
  async next(segments: readonly ListedSegment[]): Promise<Position> {
    const last = segments.at(-1);
    if (last === undefined) return position(0);
    return withFile(this.#disk, last.path, 'read', async (file) => {
      const held = await this.#newestIn(file, last);
      if (held !== null) return position(held.end.position);
      const end = await walkHeads(file, startOf(last), () => true, { checks: true });
      return position(end.position);
    });
  }
}

function allClosed(streams: ReadonlySet<string>, records: readonly LogRecord[]): boolean {
  const open = new Set(streams);
  for (const record of records) if (record.closesStream) open.delete(record.stream);
  return open.size === 0;
}

async function indexOf(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment | null,
): Promise<SegmentIndex> {
  const made = await makeIndex(file, segment, next);
  assert(made !== null, 'reading again always ends with an answer or a failure');
  return new SegmentIndex(made);
}

const endOf = (segment: ListedSegment, index: SegmentIndex): ScanPlace =>
  index.head.records === 0
    ? startOf(segment)
    : { offset: index.end, position: index.nextPosition, chain: index.head.chain };

/** Fails with LogDamaged where a body cannot be understood though its checksum holds. */
async function orFailAtDamage<Value>(
  file: DiskFile,
  segment: ListedSegment,
  decode: () => Value,
): Promise<Value> {
  try {
    return decode();
  } catch (thrown) {
    if (!isUnusable(thrown)) throw thrown;
    return failAtDamage(file, segment, null);
  }
}
