/** Waiting for something that another process does. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  readonly timeoutMillis?: number;
  readonly pauseMillis?: number;
}

/**
 * Polls until the result is neither undefined nor false, and returns it. A probe that throws is
 * retried; its last error is reported on timeout.
 */
export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions = {},
): Promise<T> {
  const timeoutMillis = options.timeoutMillis ?? 30_000;
  const deadline = performance.now() + timeoutMillis;
  let lastError: unknown;
  for (;;) {
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== false) return answer;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMillis / 1000} s in vain: ${what}`, { cause: lastError });
    }
    await sleep(options.pauseMillis ?? 20);
  }
}
