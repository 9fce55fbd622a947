/** Spans of time as a person says them: one unit, the largest that fits. */

const units = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
] as const;

/** `3 m` for 200 seconds; rounded down, and never less than `0 s`. */
export function spanInWords(nanos: bigint): string {
  const seconds = Number(nanos / 1_000_000_000n);
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? ['s', 1];
  return `${Math.max(0, Math.floor(seconds / size))} ${unit}`;
}
