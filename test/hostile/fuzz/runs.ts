/**
 * How long and from which seed properties are tried. STRATALOG_FUZZ_FACTOR=100 tries a hundred
 * times as much, STRATALOG_FUZZ_SEED another sequence; without them every run is the same.
 */
const factor = Number(process.env['STRATALOG_FUZZ_FACTOR'] ?? 1);
const seed = Number(process.env['STRATALOG_FUZZ_SEED'] ?? 20_260_101);

/** The parameters of `fc.assert` for a property that is tried this often by default. */
export const runs = (numRuns: number): { readonly numRuns: number; readonly seed: number } => ({
  numRuns: Math.max(1, Math.round(numRuns * factor)),
  seed,
});
