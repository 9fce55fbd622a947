/**
 * State from events: one step of replay, and of life. The same function serves both, so a state
 * that was replayed cannot differ from one that was lived.
 */
import { InvariantBroken } from '../base/assert.js';
import { nextStatus, type Status } from './transition-table.js';
import { evolve, type Recorded, type SnapshotFacts } from './facts.js';

/** A resting snapshot: where it stands in the statechart, and what is known of it. */
export interface SnapshotState extends SnapshotFacts {
  readonly status: Exclude<Status, 'absent'>;
}

/**
 * The state after an event. `state` is null before the first. Throws InvariantBroken when the
 * statechart has no such transition: the log and this program disagree about what can happen.
 */
export function fold(state: SnapshotState | null, recorded: Recorded): SnapshotState {
  const status = nextStatus(state?.status ?? 'absent', state, recorded);
  if (status === null || status === 'absent') {
    const where = state === null ? 'an absent snapshot' : `snapshot ${state.id} (${state.status})`;
    throw new InvariantBroken(`${recorded.event.type} cannot happen to ${where}`);
  }
  // The facts are a new object already: a second copy would cost as much as the first.
  return Object.assign(evolve(state, recorded), { status });
}
