/**
 * The slow questions as jobs for a thread of host/workers.ts: each opens the root's files anew,
 * read-only. A fault of the log is answered as data, because an error loses its class on the way.
 */
import { position, unixNanos } from '../../base/units.js';
import { blockingDisk } from '../../host/files/blocking-disk.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import type { LogDamaged } from '../../log/errors.js';
import { logFaultOf, type LogFault } from './audit-faults.js';
import { questionsTo, type SlowQuestions, type StateText } from './audit-queries.js';

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
  answer: (questions: SlowQuestions, signal: AbortSignal) => Promise<Value>,
): Promise<Answered<Value>> {
  try {
    // Whoever gives up waiting lets the thread finish: the pool bounds how many do.
    const never = new AbortController().signal;
    const archive = new RootArchive(blockingDisk(), root, { asksOnce: true, onDamage: refuse });
    return { value: await answer(questionsTo(archive), never) };
  } catch (thrown) {
    const fault = logFaultOf(thrown);
    if (fault === null) throw thrown;
    return { fault };
  }
}

/** An answer over a socket has no room for a word that more was there. */
function refuse(damage: LogDamaged): never {
  throw damage;
}
