/** Settles as the promise, or rejects with the signal's reason, whichever is first. */
export function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  if (signal.aborted) {
    // Otherwise a later rejection is unhandled and ends the process.
    promise.catch(() => undefined);
    return Promise.reject(reasonAsError(signal));
  }
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(reasonAsError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    const stopListening = () => signal.removeEventListener('abort', onAbort);
    promise.then(resolve, reject);
    promise.then(stopListening, stopListening);
  });
}

/** As `orAborted`, and rejects with the error of `late` after `millis`. */
export async function orLate<Value>(
  begin: (signal: AbortSignal) => Promise<Value>,
  { signal, millis, late }: OrLateOptions,
): Promise<Value> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(late()), millis);
  try {
    const either = AbortSignal.any([signal, limit.signal]);
    return await orAborted(begin(either), either);
  } finally {
    clearTimeout(timer);
  }
}

export interface OrLateOptions {
  readonly signal: AbortSignal;
  readonly millis: number;
  readonly late: () => Error;
}

function reasonAsError(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('the call was cancelled');
}
