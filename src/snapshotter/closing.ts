/**
 * What a close cuts short fails like anything else, and the next start does it: that is reported to
 * the callers who wait for it, and is no problem to warn of.
 */
import { SupervisorClosed } from '../effects/supervisor.js';
import { LOG_CLOSED } from '../log/write/writer.js';
import { SNAPSHOTTER_CLOSED } from './dispatcher.js';

type Warning = (message: string, fields: Readonly<Record<string, unknown>>) => void;

const reasons = [SupervisorClosed.text, SNAPSHOTTER_CLOSED, LOG_CLOSED];

/** The reason alone, or behind what failed for it: `remove <path>: the supervisor is closed`. */
const isCutShort = (error: unknown): boolean =>
  typeof error === 'string' &&
  reasons.some((reason) => error === reason || error.endsWith(`: ${reason}`));

export class Closing {
  #hasBegun = false;

  begin(): void {
    this.#hasBegun = true;
  }

  /** The observer, but for warnings of what was cut short. */
  observing<Observer extends { warning: Warning }>(observer: Observer): Observer {
    const warning: Warning = (message, fields) => {
      if (!this.#hasBegun || !isCutShort(fields['error'])) observer.warning(message, fields);
    };
    return { ...observer, warning };
  }
}
