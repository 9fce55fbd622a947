/**
 * Sees trouble of the process itself before calls hang: an event loop that does not turn in time,
 * and file descriptors that run out. A snapshotter that accepts but never answers is worse than a
 * dead one (containerd #13798 was a plugin without descriptors), so the daemon says so on health.
 */
import { Observable } from 'rxjs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { errnoOf } from '../../base/errors.js';
import { descriptorLimits, openDescriptorCount } from '../../host/process/limits.js';

/** One sign of life that has changed. `reason` is null when it is well again. */
export interface ProcessReport {
  readonly source: 'event loop' | 'file descriptors';
  readonly reason: string | null;
}

export interface WatchOptions {
  /** The event loop is unwell when it was this late, at worst, within one interval. */
  readonly loopDelayMillis: number;
  /** The process is unwell when fewer descriptors than this are left. */
  readonly descriptorsReserve: number;
  /** How often it looks; 1 s when not given. */
  readonly intervalMillis?: number;
}

/** Looks in a row that must be calm before the event loop counts as well again. */
const calmLooks = 3;

/** How much more than the reserve must be free again, as a factor. */
const descriptorsEase = 1.25;

/**
 * Reports changes only; well is assumed at first. Watches while it is subscribed to, and does not
 * keep the process alive.
 */
export function watchProcess(options: WatchOptions): Observable<ProcessReport> {
  return new Observable((subscriber) => {
    const histogram = monitorEventLoopDelay({ resolution: 10 });
    const loop = new LoopCheck(options.loopDelayMillis);
    const descriptors = new DescriptorCheck(options.descriptorsReserve);
    const look = (): void => {
      const lateMillis = histogram.count === 0 ? 0 : histogram.max / 1e6;
      histogram.reset();
      const loopChange = loop.see(lateMillis);
      if (loopChange !== undefined) {
        subscriber.next({ source: 'event loop', reason: loopChange });
      }
      const change = descriptors.see(freeDescriptors());
      if (change !== undefined) subscriber.next({ source: 'file descriptors', reason: change });
    };
    histogram.enable();
    const timer = setInterval(look, options.intervalMillis ?? 1000);
    timer.unref();
    return () => {
      clearInterval(timer);
      histogram.disable();
    };
  });
}

/** Descriptors left to this process; Infinity without a limit. */
export function freeDescriptors(): number {
  try {
    return descriptorLimits().soft - openDescriptorCount();
  } catch (thrown) {
    // Looking needs a descriptor itself.
    if (['EMFILE', 'ENFILE'].includes(errnoOf(thrown) ?? '')) return 0;
    throw thrown;
  }
}

/** Unwell at once, well again only after several calm looks: health must not flap. */
export class LoopCheck {
  private isWell = true;
  private calm = 0;

  constructor(private readonly limitMillis: number) {}

  /** A reason when it has become unwell, null when well again, undefined when nothing changed. */
  see(lateMillis: number): string | null | undefined {
    if (lateMillis >= this.limitMillis) {
      this.calm = 0;
      if (!this.isWell) return undefined;
      this.isWell = false;
      return `the event loop was ${Math.round(lateMillis)} ms late (limit ${this.limitMillis} ms)`;
    }
    // Between half of the limit and the limit nothing changes.
    this.calm = lateMillis < this.limitMillis / 2 ? this.calm + 1 : 0;
    if (this.isWell || this.calm < calmLooks) return undefined;
    this.isWell = true;
    return null;
  }
}

/** Unwell below the reserve, well again when a quarter more than the reserve is free. */
export class DescriptorCheck {
  private isWell = true;

  constructor(private readonly reserve: number) {}

  /** As LoopCheck.see. */
  see(free: number): string | null | undefined {
    if (this.isWell && free < this.reserve) {
      this.isWell = false;
      return `only ${free} file descriptors are left (reserve ${this.reserve}); raise LimitNOFILE`;
    }
    if (!this.isWell && free >= this.reserve * descriptorsEase) {
      this.isWell = true;
      return null;
    }
    return undefined;
  }
}
