/** Waiting with a way out: the promise's own end, or the signal's reason, whichever is first. */
export function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  if (signal.aborted) return Promise.reject(reasonAsError(signal));
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(reasonAsError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    const stopListening = () => signal.removeEventListener('abort', onAbort);
    promise.then(resolve, reject);
    promise.then(stopListening, stopListening);
  });
}

function reasonAsError(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('the call was cancelled');
}
