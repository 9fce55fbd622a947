/**
 * What was read of indexes a moment ago: one question often goes through all of them more than
 * once. The index of a sealed segment does not change; that it is still of the same records is
 * looked at each time, because a repair may have put another segment there.
 */
import type { Disk } from '../../base/ports.js';
import { bindingOf, readIndex, readIndexFilter, readIndexHead } from './index-files.js';
import type { IndexHead } from './index-head.js';
import type { SegmentIndex } from './segment-index.js';
import type { ListedSegment } from '../read/segment-list.js';
import { stretchesThatMayHold } from './text-filter.js';

/** Enough for three gigabytes of events. Heads are not counted: each has some hundred bytes. */
const BYTES_MAX = 32 * 1024 * 1024;

interface Kept {
  readonly head: IndexHead;
  readonly filter: Buffer | null;
  readonly index: SegmentIndex | null;
}

/**
 * All methods answer null when a segment has no index, and fail with IndexUnusable when it has one
 * that cannot be used.
 */
export class IndexCache {
  /** By first position; the most recently read is last. */
  readonly #kept = new Map<number, Kept>();
  #bytes = 0;

  constructor(
    private readonly disk: Disk,
    private readonly root: string,
  ) {}

  /** If it was read before. */
  knownHead(segment: ListedSegment, next: ListedSegment): IndexHead | null {
    return this.#known(segment, next)?.head ?? null;
  }

  async head(segment: ListedSegment, next: ListedSegment): Promise<IndexHead | null> {
    const known = this.knownHead(segment, next);
    if (known !== null) return known;
    const head = await readIndexHead(this.disk, this.root, segment, next);
    if (head !== null) this.#keep({ head, filter: null, index: null });
    return head;
  }

  async read(segment: ListedSegment, next: ListedSegment): Promise<SegmentIndex | null> {
    const known = this.#known(segment, next);
    if (known?.index) return known.index;
    const index = await readIndex(this.disk, this.root, segment, next);
    if (index !== null) this.#keep({ head: index.head, filter: known?.filter ?? null, index });
    return index;
  }

  /** The stretches that may have one of the texts; null also for texts of another version. */
  async stretches(
    segment: ListedSegment,
    next: ListedSegment,
    texts: readonly string[],
    version: number,
  ): Promise<readonly number[] | null> {
    const known = this.#known(segment, next);
    const found =
      known?.filter != null
        ? known
        : await readIndexFilter(this.disk, this.root, segment, next, version, known?.head);
    if (found === null) return null;
    const { head, filter } = found;
    if (known?.filter !== filter) this.#keep({ head, filter, index: known?.index ?? null });
    if (filter === null || head.textsVersion !== version) return null;
    return stretchesThatMayHold(filter, texts);
  }

  #known(segment: ListedSegment, next: ListedSegment): Kept | null {
    const known = this.#kept.get(segment.header.firstPosition);
    return known?.head.mismatch(bindingOf(segment, next)) === null ? known : null;
  }

  /** Takes the place of what was kept of the segment. */
  #keep(kept: Kept): void {
    const { firstPosition } = kept.head;
    const before = this.#kept.get(firstPosition);
    if (before !== undefined) this.#bytes -= bytesOf(before);
    this.#kept.delete(firstPosition);
    this.#kept.set(firstPosition, kept);
    this.#bytes += bytesOf(kept);
    for (const [oldest, unused] of this.#kept) {
      if (this.#bytes <= BYTES_MAX) return;
      if (bytesOf(unused) === 0) continue;
      this.#bytes -= bytesOf(unused);
      // Every query needs its head.
      this.#kept.set(oldest, { head: unused.head, filter: null, index: null });
    }
  }
}

const bytesOf = ({ filter, index }: Kept): number => (filter?.length ?? 0) + (index?.bytes ?? 0);
