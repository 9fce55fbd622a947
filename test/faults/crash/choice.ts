/** How much is tried: a fixed choice within what an ordinary run may take, or all of it. */
import type { Counts } from './enumerate.js';

/** Set to 1, nothing that can be enumerated is left out. Takes many minutes. */
export const all = process.env['STRATALOG_FAULTS_ALL'] === '1';

/** The counts as a person reads them in the output of a run. */
export function told(counts: Counts): string {
  const { boundaries, states, deaths, pairs, pairStates, pairsLeftOut } = counts;
  const singles = `${boundaries} boundaries, ${states} different states, ${deaths} deaths`;
  if (pairs + pairsLeftOut === 0) return singles;
  return `${singles}, ${pairs} pairs (${pairStates} different states, ${pairsLeftOut} left out)`;
}
