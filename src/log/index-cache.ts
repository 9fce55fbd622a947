/**
 * Indexes that were read a moment ago: one question often goes through all of them more than once.
 * The index of a sealed segment does not change; that it is still of the same records is looked at
 * each time, because a repair may have put another segment there.
 */
import type { Disk } from '../base/ports.js';
import { bindingOf, readIndex } from './index-files.js';
import type { SegmentIndex } from './segment-index.js';
import type { SurveyedSegment } from './survey.js';

/** Enough for three gigabytes of events. */
const BYTES_MAX = 32 * 1024 * 1024;

export class IndexCache {
  /** By first position; the longest unused first. */
  readonly #kept = new Map<number, SegmentIndex>();
  #bytes = 0;

  constructor(
    private readonly disk: Disk,
    private readonly root: string,
  ) {}

  /** As `readIndex`: null when there is none, IndexUnusable when it cannot be used. */
  async read(segment: SurveyedSegment, next: SurveyedSegment): Promise<SegmentIndex | null> {
    const { firstPosition } = segment.header;
    const known = this.#kept.get(firstPosition);
    if (known !== undefined) this.#drop(firstPosition, known);
    const isUsable = known?.mismatch(bindingOf(segment, next)) === null;
    const index = isUsable ? known : await readIndex(this.disk, this.root, segment, next);
    if (index) this.#keep(firstPosition, index);
    return index ?? null;
  }

  #keep(firstPosition: number, index: SegmentIndex): void {
    const before = this.#kept.get(firstPosition);
    if (before !== undefined) this.#drop(firstPosition, before);
    this.#kept.set(firstPosition, index);
    this.#bytes += index.bytes;
    for (const [oldest, unused] of this.#kept) {
      if (this.#bytes <= BYTES_MAX) return;
      this.#drop(oldest, unused);
    }
  }

  #drop(firstPosition: number, index: SegmentIndex): void {
    this.#kept.delete(firstPosition);
    this.#bytes -= index.bytes;
  }
}
