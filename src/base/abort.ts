/** Waiting with a way out: the promise's own end, or the signal's reason, whichever is first. */
export function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  if (signal.aborted) {
    // Nobody waits for it; that it fails later must not end the process.
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

/** As `orAborted`, with an end of its own besides: after so long, the error that `late` makes. */
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
