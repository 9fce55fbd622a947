/**
 * Records each step of the wall clock that is seen while the daemon runs: times in the log before
 * and after it cannot be compared. The clocks are read when something was appended; a clock that
 * is set and set back between two appends has dated nothing.
 */
import type { Subscription } from 'rxjs';
import { formatTime, unixNanos, type UnixNanos } from '../../base/units.js';
import type { EventLog } from '../../log/types.js';
import type { DaemonEvent } from '../../machines/events/daemon-events.js';
import type { ClockWatch } from './clock-watch.js';

export interface ClockStepsOptions {
  readonly log: Pick<EventLog, 'durableBatches'>;
  readonly clockWatch: ClockWatch;
  readonly record: (event: DaemonEvent) => Promise<void>;
  readonly onWarning: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class ClockSteps {
  readonly #subscription: Subscription;

  constructor({ log, clockWatch, record, onWarning }: ClockStepsOptions) {
    this.#subscription = log.durableBatches.subscribe((records) => {
      // A clock that runs too fast would otherwise keep the log busy with its own steps.
      if (records.every(({ type }) => type === 'ClockStepped')) return;
      const step = clockWatch.read();
      if (step === 0n) return;
      const { type, data } = clockStepped(unixNanos(clockWatch.wall - step), clockWatch.wall);
      onWarning(step > 0n ? 'the clock was set ahead' : 'the clock was set back', data);
      // A log that cannot be written reports that itself.
      record({ type, data }).catch(() => undefined);
    });
  }

  close(): void {
    this.#subscription.unsubscribe();
  }
}

/** `expected` is what the clock would have shown, had it not been set. */
export function clockStepped(expected: UnixNanos, found: UnixNanos) {
  const byMillis = Number((found - expected) / 1_000_000n);
  const data = { byMillis, expected: formatTime(expected), found: formatTime(found) };
  return { type: 'ClockStepped', data } as const;
}
