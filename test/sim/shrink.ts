/** Looks for a shorter run of the same seed that breaks, too. */
import { runSimulation, type RunResult } from './simulation.js';

/**
 * A run of fewer steps is the beginning of a longer one, followed by a calm. So the step at which
 * a rule was seen to be broken is enough; often the calm finds it even earlier.
 */
export async function shrink(broken: RunResult): Promise<RunResult> {
  let least = broken;
  if (broken.brokenAt !== null) least = await runSimulation(broken.seed, broken.brokenAt);
  if (least.violation === null) return broken;
  for (let cut = Math.floor(least.steps / 2); cut >= 1; cut = Math.floor(cut / 2)) {
    const shorter = await runSimulation(broken.seed, least.steps - cut);
    if (shorter.violation === null) continue;
    least = shorter;
    cut = Math.min(cut * 2, least.steps);
  }
  return least;
}
