/**
 * Sealed segments checked ahead of the one whose turn it is, on threads that others bring, and
 * the streams of a log moved on over a segment that was found sound.
 */
import type { SegmentFacts, SegmentToCheck, SoundSegment, StreamsMoved } from './sealed-segment.js';
import type { ListedSegment } from '../read/segment-list.js';

export interface SegmentChecker {
  /** How many segments may be under way. */
  readonly ahead: number;
  /** Null where anything is unusual. Fails with HostFault. */
  check(segment: SegmentToCheck): Promise<SoundSegment | null>;
  /** The same of all its records at once: `digestSegment`. */
  sum(segment: SegmentToCheck): Promise<SegmentFacts | null>;
}

/** What was found out about each segment before its turn comes. */
export interface PrefetchedChecks {
  /** Null if the segment must be read. To be called once for each segment, in order. */
  take(index: number): Promise<SoundSegment | null>;
}

/** Keeps so many checks under way as the checker takes. */
export class PrefetchedCheck implements PrefetchedChecks {
  readonly #begun: Promise<SoundSegment | null>[] = [];

  constructor(
    private readonly checker: SegmentChecker,
    private readonly queries: readonly (SegmentToCheck | null)[],
  ) {}

  take(index: number): Promise<SoundSegment | null> {
    const end = Math.min(this.queries.length, index + this.checker.ahead);
    for (let at = this.#begun.length; at < end; at += 1) {
      const query = this.queries[at] ?? null;
      const check = query === null ? Promise.resolve(null) : this.checker.check(query);
      // The rejection of a check that is not awaited must not end the process.
      check.catch(() => undefined);
      this.#begun.push(check);
    }
    const taken = this.#begun[index] ?? Promise.resolve(null);
    // Large, and not needed again.
    this.#begun[index] = Promise.resolve(null);
    return taken;
  }
}

/**
 * Moves the versions that come next over a sound segment. False, with nothing moved, when a
 * stream does not go on as it should.
 */
export function moveStreams(next: Map<string, number>, streams: StreamsMoved): boolean {
  const contained = streams.contained === '' ? [] : streams.contained.split('\n');
  for (const stream of contained) if (next.has(stream)) return false;
  for (const [stream, first] of streams.moved) if (first !== (next.get(stream) ?? 0)) return false;
  for (const [stream, , after] of streams.moved) {
    if (after === -1) next.delete(stream);
    else next.set(stream, after);
  }
  return true;
}

/** The queries for sealed segments; null for segments that `verifyLog` reads itself. */
export function queriesOf(
  segments: readonly (ListedSegment | null)[],
  marks: readonly number[],
  sumType: string | null,
): readonly (SegmentToCheck | null)[] {
  return segments.map((segment, index) => {
    const next = segments[index + 1];
    if (!segment || !next) return null;
    const { firstPosition, headerBytes, chain } = segment.header;
    const nextPosition = next.header.firstPosition;
    return {
      path: segment.path,
      offset: headerBytes,
      position: firstPosition,
      chain,
      nextPosition,
      nextChain: next.header.chain,
      marks: marks.filter((at) => at >= firstPosition && at < nextPosition),
      sumType,
    };
  });
}
