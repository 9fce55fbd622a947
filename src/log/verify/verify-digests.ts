/**
 * Sealed segments that need not be checked record by record, because a later event of the same log
 * says which SHA-256 their records had when that was done. Such an event counts only where its own
 * record was found sound, so trust goes backwards from the newest segment, whose records are
 * always checked one by one. It is only as trustworthy as the writer of the event (decision 14).
 */
import pLimit from 'p-limit';
import type { Disk } from '../../base/ports.js';
import { withFile } from '../files.js';
import { SegmentScan, startOf } from '../read/scan.js';
import type { SegmentFacts, SegmentToCheck, SoundSegment } from './sealed-segment.js';
import type { ListedSegment } from '../read/segment-list.js';
import type { PrefetchedChecks, SegmentChecker } from './verify-ahead.js';

/** A recorded digest: the SHA-256 of the records of a sealed segment. */
export interface SegmentSum {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
  /** In hex. */
  readonly sha256: string;
}

/** Which events record digests, and how to read one. The log knows no types by itself. */
export interface SumEvents {
  readonly type: string;
  /** Null for a body that is none. */
  sumOf(body: unknown): SegmentSum | null;
}

interface Recorded {
  readonly first: SegmentSum;
  /** The first one that is not the same. */
  other: SegmentSum | null;
}

/** What sound events say of the sums of segments. */
export class KnownSums {
  readonly #recorded = new Map<string, Recorded>();

  constructor(private readonly events: SumEvents) {}

  get type(): string {
    return this.events.type;
  }

  get isEmpty(): boolean {
    return this.#recorded.size === 0;
  }

  /** Takes the body of an event of the type. */
  learn(body: unknown): void {
    const sum = this.events.sumOf(body);
    if (sum === null) return;
    const key = keyOf(sum.from, sum.to);
    const known = this.#recorded.get(key);
    if (known === undefined) this.#recorded.set(key, { first: sum, other: null });
    else if (known.first.sha256 !== sum.sha256) known.other ??= sum;
  }

  learnAll(bodies: readonly unknown[]): void {
    for (const body of bodies) this.learn(body);
  }

  async learnFrom(disk: Disk, segment: ListedSegment): Promise<void> {
    await withFile(disk, segment.path, 'read', async (file) => {
      const scan = new SegmentScan(file, startOf(segment));
      for (let batch = await scan.next(); batch !== null; batch = await scan.next()) {
        for (const { type, data } of batch) if (type === this.events.type) this.learn(data);
      }
    });
  }

  /**
   * The recorded digest of exactly these records; one that differs from the found one, if there is
   * one. None for an imported log with other segment boundaries.
   */
  of(from: number, to: number, found: string): SegmentSum | null {
    const known = this.#recorded.get(keyOf(from, to));
    if (known === undefined) return null;
    return known.first.sha256 === found ? (known.other ?? known.first) : known.first;
  }
}

const keyOf = (from: number, to: number): string => `${from} ${to}`;

export interface SummedSegments extends PrefetchedChecks {
  /** How many a sum vouches for. */
  readonly vouched: number;
}

/**
 * Sums all sealed segments, and checks those record by record that nothing vouches for. Null when
 * neither the newest segment nor the one before it tells of any sum: to read all the others only
 * to learn that they tell of none either would be for nothing.
 *
 * Fails  HostFault
 */
export async function sumSegments(
  checker: SegmentChecker,
  queries: readonly (SegmentToCheck | null)[],
  newest: { readonly disk: Disk; readonly segment: ListedSegment },
  events: SumEvents,
): Promise<SummedSegments | null> {
  const lastQuery = queries.findLast((query) => query !== null) ?? null;
  if (lastQuery === null) return null;
  const known = new KnownSums(events);
  await known.learnFrom(newest.disk, newest.segment);
  if (known.isEmpty) known.learnAll((await checker.check(lastQuery))?.sums ?? []);
  if (known.isEmpty) return null;
  const summed = await pLimit(checker.ahead).map(queries, (query) =>
    query === null ? Promise.resolve(null) : checker.sum(query),
  );
  const sound: (SoundSegment | null)[] = [];
  let vouched = 0;
  for (let index = queries.length - 1; index >= 0; index -= 1) {
    const query = queries[index] ?? null;
    const facts = summed[index] ?? null;
    const isVouched = query !== null && facts !== null && vouches(known, query, facts);
    if (isVouched) vouched += 1;
    const found = isVouched ? { ...facts, streams: null } : query && (await checker.check(query));
    known.learnAll(found?.sums ?? []);
    sound[index] = found;
  }
  const take = (index: number): Promise<SoundSegment | null> => {
    const taken = sound[index] ?? null;
    // What it says is large, and is not asked for twice.
    sound[index] = null;
    return Promise.resolve(taken);
  };
  return { vouched, take };
}

function vouches(
  known: KnownSums,
  { position, nextPosition }: SegmentToCheck,
  { sha256 }: SegmentFacts,
): boolean {
  return known.of(position, nextPosition, sha256)?.sha256 === sha256;
}
