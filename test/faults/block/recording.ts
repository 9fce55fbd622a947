/**
 * What a disk was asked to do, in order, and what it may hold if the power goes at some point of
 * that: everything that a flush has covered, and of the writes since then whatever the draw
 * leaves, whole writes or single sectors of them. A disk promises no more (its cache is volatile
 * and it writes back in any order), and a file system must live with each of these outcomes.
 */
import { Random } from '../../support/random.js';
import { SECTOR_BYTES, SparseBytes } from './sparse.js';

type Request =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' };

/** What is left of the writes that no flush has covered. */
export type Remains =
  /** All of them, as if the disk had no cache. */
  | { readonly kind: 'all' }
  | { readonly kind: 'none' }
  /** Each write with this probability. */
  | { readonly kind: 'writes'; readonly seed: number; readonly probability: number }
  /** Each unit of so many bytes with this probability: writes are torn. */
  | {
      readonly kind: 'units';
      readonly seed: number;
      readonly probability: number;
      readonly unitBytes: number;
    };

export interface Cut {
  /** So many requests had reached the disk. Cuts must come in rising order. */
  readonly at: number;
  readonly remains: Remains;
}

export class Recording {
  /** Everything that is certain to be on the disk at the newest cut. */
  readonly #certain: SparseBytes;
  #certainCount = 0;
  readonly #requests: Request[] = [];

  constructor(start: SparseBytes) {
    this.#certain = start;
  }

  get count(): number {
    return this.#requests.length;
  }

  /** Where the flushes stand: how many requests there were when each had been carried out. */
  flushes(): number[] {
    return this.#requests.flatMap(({ kind }, index) => (kind === 'flush' ? [index + 1] : []));
  }

  add(request: Request): void {
    this.#requests.push(request);
  }

  /** The disk as it may be found after the cut; what is written to it changes no later cut. */
  cut({ at, remains }: Cut): SparseBytes {
    const flushed = this.#requests.slice(0, at).findLastIndex(({ kind }) => kind === 'flush') + 1;
    if (at > this.count || flushed < this.#certainCount) {
      throw new RangeError(`no cut at ${at} of ${this.count}, after one at ${this.#certainCount}`);
    }
    for (const request of this.#requests.slice(this.#certainCount, flushed)) {
      apply(request, this.#certain);
    }
    this.#certainCount = flushed;
    const image = new SparseBytes(this.#certain);
    const draw = remainsOf(remains);
    for (const request of this.#requests.slice(flushed, at)) {
      for (const part of draw(request)) apply(part, image);
    }
    return image;
  }
}

function apply(request: Request, onto: SparseBytes): void {
  if (request.kind === 'write') onto.write(request.bytes, request.offset);
  else if (request.kind === 'zero') onto.zero(request.offset, request.length);
}

/** Which parts of a request arrive. */
function remainsOf(remains: Remains): (request: Request) => Request[] {
  if (remains.kind === 'all') return (request) => [request];
  if (remains.kind === 'none') return () => [];
  const random = new Random(remains.seed);
  const { probability } = remains;
  if (remains.kind === 'writes') {
    return (request) => (random.chance(probability) ? [request] : []);
  }
  const unit = Math.max(remains.unitBytes, SECTOR_BYTES);
  return (request) => {
    if (request.kind !== 'write') return random.chance(probability) ? [request] : [];
    const parts: Request[] = [];
    const end = request.offset + request.bytes.length;
    for (let from = request.offset; from < end;) {
      const to = Math.min(from - (from % unit) + unit, end);
      const bytes = request.bytes.subarray(from - request.offset, to - request.offset);
      if (random.chance(probability)) parts.push({ kind: 'write', offset: from, bytes });
      from = to;
    }
    return parts;
  };
}
