/**
 * Slow queries as jobs for a worker thread. Each opens the root's files read-only. A fault of the
 * log is returned as data, because an error loses its class between threads.
 */
import { position, unixNanos } from '../../base/units.js';
import { blockingDisk } from '../../host/files/blocking-disk.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import type { LogDamaged } from '../../log/errors.js';
import { logFaultOf, type LogFault } from './audit-faults.js';
import { queriesOn, type SlowQueries, type StateText } from './audit-queries.js';

export type Answered<Value> = { readonly value: Value } | { readonly fault: LogFault };

interface OfRoot {
  readonly root: string;
}

interface UpTo extends OfRoot {
  readonly durable: number;
}

export function stateAt(input: OfRoot & { readonly at: number }): Promise<Answered<StateText>> {
  return answered(input, (ask, signal) => ask.stateAt(position(input.at), signal));
}

export function positionAt(input: UpTo & { readonly time: bigint }): Promise<Answered<number>> {
  const { time, durable } = input;
  return answered(input, (ask, signal) =>
    ask.positionAt(unixNanos(time), position(durable), signal),
  );
}

export function find(
  input: UpTo & { readonly text: string },
): Promise<Answered<readonly number[]>> {
  const { text, durable } = input;
  return answered(input, (ask, signal) => ask.find(text, position(durable), signal));
}

async function answered<Value>(
  { root }: OfRoot,
  answer: (queries: SlowQueries, signal: AbortSignal) => Promise<Value>,
): Promise<Answered<Value>> {
  try {
    // An aborted job still runs to its end; the pool limits how many do.
    const never = new AbortController().signal;
    const archive = new RootArchive(blockingDisk(), root, { asksOnce: true, onDamage: refuse });
    return { value: await answer(queriesOn(archive), never) };
  } catch (thrown) {
    const fault = logFaultOf(thrown);
    if (fault === null) throw thrown;
    return { fault };
  }
}

/** A response cannot carry a note that records were left out, so damage fails the query. */
function refuse(damage: LogDamaged): never {
  throw damage;
}
