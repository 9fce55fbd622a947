/** Ratios of measurements that were taken side by side. */
export interface Ratio {
  /** Median of the candidate's own numbers. */
  readonly value: number;
  /** Of the ratios turn by turn. */
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Turn n of one is divided by turn n of the other: both met the same machine at that time. */
export function ratioOf(candidate: readonly number[], peer: readonly number[]): Ratio {
  const ratios = candidate.map((value, turn) => value / (peer[turn] ?? NaN));
  return {
    value: medianOf(candidate),
    median: medianOf(ratios),
    min: Math.min(...ratios),
    max: Math.max(...ratios),
  };
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}
