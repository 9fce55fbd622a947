/**
 * Detects a delayed event loop and a lack of file descriptors before calls hang, and reports them
 * to health. A snapshotter that accepts calls but never answers is worse than one that has crashed
 * (containerd #13798 was a plugin without descriptors).
 */
import { Observable } from 'rxjs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { errnoOf } from '../../base/errors.js';
import { descriptorLimits, openDescriptorCount } from '../../host/process/limits.js';

/** A changed condition. `reason` is null when it has recovered. */
export interface ProcessReport {
  readonly source: 'event loop' | 'file descriptors';
  readonly reason: string | null;
}

export interface WatchOptions {
  /** The event loop is unhealthy if its maximum delay within an interval reaches this. */
  readonly loopDelayMillis: number;
  /** The process is unhealthy if fewer descriptors than this are free. */
  readonly descriptorsReserve: number;
  /** Default: 1 s. */
  readonly intervalMillis?: number;
}

/** Consecutive calm samples after which the event loop is healthy again. */
const calmSamplesMin = 3;

/** Factor of the reserve that must be free before descriptors are healthy again. */
const recoveryFactor = 1.25;

/** Emits changes only, starting from healthy. Does not keep the process alive. */
export function watchProcess(options: WatchOptions): Observable<ProcessReport> {
  return new Observable((subscriber) => {
    const histogram = monitorEventLoopDelay({ resolution: 10 });
    const loop = new LoopCheck(options.loopDelayMillis);
    const descriptors = new DescriptorCheck(options.descriptorsReserve);
    const sample = (): void => {
      const lateMillis = histogram.count === 0 ? 0 : histogram.max / 1e6;
      histogram.reset();
      const loopChange = loop.sample(lateMillis);
      if (loopChange !== undefined) {
        subscriber.next({ source: 'event loop', reason: loopChange });
      }
      const change = descriptors.sample(freeDescriptors());
      if (change !== undefined) subscriber.next({ source: 'file descriptors', reason: change });
    };
    histogram.enable();
    const timer = setInterval(sample, options.intervalMillis ?? 1000);
    timer.unref();
    return () => {
      clearInterval(timer);
      histogram.disable();
    };
  });
}

/** Free descriptors of this process; Infinity without a limit. */
export function freeDescriptors(): number {
  try {
    return descriptorLimits().soft - openDescriptorCount();
  } catch (thrown) {
    // Counting needs a descriptor itself.
    if (['EMFILE', 'ENFILE'].includes(errnoOf(thrown) ?? '')) return 0;
    throw thrown;
  }
}

/** Unhealthy at once, healthy again after several calm samples, so that health does not flap. */
export class LoopCheck {
  private isHealthy = true;
  private calmSamples = 0;

  constructor(private readonly limitMillis: number) {}

  /** A reason if it became unhealthy, null if healthy again, undefined if unchanged. */
  sample(lateMillis: number): string | null | undefined {
    if (lateMillis >= this.limitMillis) {
      this.calmSamples = 0;
      if (!this.isHealthy) return undefined;
      this.isHealthy = false;
      return `event loop delayed by ${Math.round(lateMillis)} ms (limit ${this.limitMillis} ms)`;
    }
    // Hysteresis: only a delay below half of the limit counts as calm.
    this.calmSamples = lateMillis < this.limitMillis / 2 ? this.calmSamples + 1 : 0;
    if (this.isHealthy || this.calmSamples < calmSamplesMin) return undefined;
    this.isHealthy = true;
    return null;
  }
}

/** Unhealthy below the reserve, healthy again above `recoveryFactor` times the reserve. */
export class DescriptorCheck {
  private isHealthy = true;

  constructor(private readonly reserve: number) {}

  /** As LoopCheck.sample. */
  sample(free: number): string | null | undefined {
    if (this.isHealthy && free < this.reserve) {
      this.isHealthy = false;
      return `only ${free} file descriptors free (reserve ${this.reserve}); raise LimitNOFILE`;
    }
    if (!this.isHealthy && free >= this.reserve * recoveryFactor) {
      this.isHealthy = true;
      return null;
    }
    return undefined;
  }
}
