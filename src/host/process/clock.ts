/** The Clock port with the real clocks. */
import type { Clock } from '../../base/ports.js';
import { unixNanos } from '../../base/units.js';
import type { UnixNanos } from '../../base/units.js';
import { checked, libraryCall } from '../libc.js';

const clockGettime = libraryCall('int clock_gettime(int clock, void *time)');
const realTime = 0; // CLOCK_REALTIME
const bootTime = 7; // CLOCK_BOOTTIME: as CLOCK_MONOTONIC, and counts while the machine is suspended

/** setTimeout fires at once if the delay does not fit into 31 bits. */
const delayMillisMax = 2 ** 31 - 1;

export function systemClock(): Clock {
  const timespec = new BigInt64Array(2);
  const bytes = new Uint8Array(timespec.buffer);
  return {
    now: (): UnixNanos => {
      // Date.now() has only milliseconds, and process.hrtime() is not wall-clock time.
      checked('clock_gettime', 'CLOCK_REALTIME', clockGettime, realTime, bytes);
      return unixNanos((timespec[0] ?? 0n) * 1_000_000_000n + (timespec[1] ?? 0n));
    },
    monotonicMillis: () => {
      checked('clock_gettime', 'CLOCK_BOOTTIME', clockGettime, bootTime, bytes);
      return Number(timespec[0] ?? 0n) * 1e3 + Number(timespec[1] ?? 0n) / 1e6;
    },
    schedule,
  };
}

function schedule(delayMillis: number, callback: () => void): () => void {
  let timer: NodeJS.Timeout;
  const start = (left: number): void => {
    const step = Math.min(Math.max(left, 0), delayMillisMax);
    timer = setTimeout(() => {
      if (left > step) start(left - step);
      else callback();
    }, step);
    timer.unref();
  };
  start(delayMillis);
  return () => {
    clearTimeout(timer);
  };
}
