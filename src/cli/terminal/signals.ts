/** Work that must leave nothing half done behind when a signal ends the command. */
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type Signal = (typeof SIGNALS)[number];

/** A signal came while something was written. What was not whole has been removed. */
export class EndedBySignal extends Error {
  override readonly name = 'EndedBySignal';
  readonly signal: Signal;

  constructor(signal: Signal) {
    super(`ended by ${signal}`);
    this.signal = signal;
  }
}

/**
 * Runs the work, which must come to its end soon after `stop` is aborted, and remove what it has
 * begun then.
 *
 * @throws EndedBySignal when a signal came meanwhile, however the work ended
 */
export async function stoppedBySignals<Value>(
  work: (stop: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const stop = new AbortController();
  const onSignal = (signal: Signal): void => {
    stop.abort(new EndedBySignal(signal));
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    const value = await work(stop.signal);
    stop.signal.throwIfAborted();
    return value;
  } catch (thrown) {
    stop.signal.throwIfAborted();
    throw thrown;
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

/** Ends this process as the signal would have; a shell sees 128 and its number. */
export function endBy(signal: Signal): never {
  process.kill(process.pid, signal);
  // The first process of a container is not ended by its own signals.
  process.exit(128 + constants.signals[signal]);
}
