/**
 * Lets a process run until something is done, until it is at rest, or until it dies. Nothing it
 * does takes longer than a few turns of the event loop, so one that does nothing at all for many
 * turns and has no timer left either will never go on: no clock of the wall is asked.
 */
import type { Process } from './machine.js';

const idleTurnsMax = 30;
/** Timers further away are limits that are there in case something hangs. */
const restMillisMax = 4_000;
const jumpsMax = 40;

export type Driven<Value> = { readonly value: Value } | 'died';

/** Fails when the work ends with an error, or never. */
export async function drive<Value>(process: Process, work: Promise<Value>): Promise<Driven<Value>> {
  const outcome: { is?: { value: Value } | { thrown: unknown } } = {};
  work.then(
    (value) => (outcome.is = { value }),
    (thrown: unknown) => (outcome.is = { thrown }),
  );
  let jumps = 0;
  for (;;) {
    await idle(process, () => outcome.is !== undefined);
    if (process.gate.isDead) return 'died';
    const { is } = outcome;
    if (is !== undefined) {
      if ('thrown' in is) throw is.thrown;
      return is;
    }
    jumps += 1;
    if (jumps > jumpsMax || !process.clock.jump(Infinity)) {
      throw new Error(`it never ends; the last boundary was ${String(process.gate.names.at(-1))}`);
    }
  }
}

/** Until nothing happens any more. */
export async function rest(process: Process): Promise<Driven<null>> {
  for (let jumps = 0; ; jumps += 1) {
    await idle(process, () => false);
    if (process.gate.isDead) return 'died';
    if (!process.clock.jump(restMillisMax)) return { value: null };
    if (jumps > jumpsMax) throw new Error('it never comes to rest');
  }
}

async function idle(process: Process, isOver: () => boolean): Promise<void> {
  const { gate } = process;
  let seen = gate.activity;
  for (let turns = 0; turns < idleTurnsMax && !gate.isDead && !isOver(); turns += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    if (gate.activity === seen) continue;
    seen = gate.activity;
    turns = 0;
  }
}
