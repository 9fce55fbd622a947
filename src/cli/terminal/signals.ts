/** Runs work that must clean up when a signal ends the command. */
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type Signal = (typeof SIGNALS)[number];

/** A signal interrupted the work. Partial output has been removed. */
export class EndedBySignal extends Error {
  override readonly name = 'EndedBySignal';
  readonly signal: Signal;

  constructor(signal: Signal) {
    super(`ended by ${signal}`);
    this.signal = signal;
  }
}

/**
 * Runs the work and aborts `stop` on a signal. The work must then end soon and remove its partial
 * output.
 *
 * @throws EndedBySignal if a signal arrived, regardless of the outcome of the work
 */
export async function abortOnSignals<Value>(
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

/** Ends this process with the default action of the signal; a shell sees 128 plus its number. */
export function exitBySignal(signal: Signal): never {
  process.kill(process.pid, signal);
  // PID 1 of a container is not terminated by signals that it sends itself.
  process.exit(128 + constants.signals[signal]);
}
