/**
 * How kind the world is: how long each call of a port takes, and whether it fails. A run random a
 * climate once; calm moments, in which nothing fails and nothing hangs, are ordered by the run.
 */
import type { DiskFault, DiskOperation } from '../support/faulty-disk.js';
import type { Random } from '../support/random.js';

/** Probabilities for one call. */
interface Climate {
  /** A write or sync of the log, after which the log is read-only. */
  readonly logFault: number;
  readonly hostFault: number;
  readonly hang: number;
  readonly slow: number;
}

const CLIMATES: readonly Climate[] = [
  { logFault: 0, hostFault: 0, hang: 0, slow: 0.02 },
  { logFault: 0.0005, hostFault: 0.02, hang: 0.005, slow: 0.1 },
  { logFault: 0.004, hostFault: 0.05, hang: 0.02, slow: 0.1 },
  { logFault: 0.001, hostFault: 0.15, hang: 0.05, slow: 0.3 },
];

const LOG_CODES = ['EIO', 'ENOSPC'] as const;
const HOST_CODES = ['EIO', 'ENOSPC', 'EMFILE', 'EBUSY'] as const;

export class Weather {
  isCalm = false;
  readonly #random: Random;
  readonly #climate: Climate;

  constructor(random: Random) {
    this.#random = random;
    this.#climate = random.pick(CLIMATES);
  }

  /** Milliseconds that one half of a call takes. */
  delay(): number {
    const draw = this.#random.next();
    if (this.isCalm || draw >= this.#climate.slow) return draw * 0.4;
    return 1 + this.#random.next() * 60;
  }

  /** Milliseconds that a call hangs, or null. */
  hang(): number | null {
    if (!this.#strikes(this.#climate.hang)) return null;
    return this.#random.pick([500, 4_000, 20_000, 45_000, 700_000]);
  }

  /** Whether a call that takes long listens to its signal. */
  listens(): boolean {
    return this.#random.chance(0.5);
  }

  hostFault(): string | null {
    return this.#strikes(this.#climate.hostFault) ? this.#random.pick(HOST_CODES) : null;
  }

  diskFault(operation: DiskOperation): DiskFault | undefined {
    const isRead = operation === 'read' || operation === 'open';
    if (isRead || !this.#strikes(this.#climate.logFault)) return undefined;
    const code = this.#random.pick(LOG_CODES);
    const isShort = operation === 'write' && this.#random.chance(0.5);
    if (!isShort) return { kind: 'fail', code };
    return { kind: 'short', bytes: this.#random.between(0, 700), code };
  }

  #strikes(probability: number): boolean {
    return !this.isCalm && this.#random.chance(probability);
  }
}
