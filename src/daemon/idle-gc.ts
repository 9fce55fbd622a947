/** Releases memory when the daemon is idle after work. A collection would delay running calls. */
import { releaseMemory } from '../host/process/memory.js';

/** CPU time. Less work leaves too little garbage to be worth a collection. */
const workMillisMin = 100;
/** Share of one CPU that an idle process may use: it still runs timers. */
const idleShare = 0.05;
/**
 * Counts of consecutive idle samples at which memory is released. The second collection frees the
 * buffers that became garbage only in the first.
 */
const releaseAtSamples: readonly number[] = [2, 3];

/** Decides from CPU time, sampled at regular intervals, when to release memory. */
export class IdleCheck {
  #workMillis: number;
  #idleSamples = 0;

  /** @param workMillis CPU time used before the first sample */
  constructor(workMillis: number) {
    this.#workMillis = workMillis;
  }

  /** Returns whether to release memory now. */
  sample(cpuMillis: number, elapsedMillis: number): boolean {
    if (cpuMillis > elapsedMillis * idleShare) {
      this.#workMillis += cpuMillis;
      this.#idleSamples = 0;
      return false;
    }
    this.#idleSamples += 1;
    if (this.#workMillis < workMillisMin) return false;
    if (this.#idleSamples >= Math.max(...releaseAtSamples)) this.#workMillis = 0;
    return releaseAtSamples.includes(this.#idleSamples);
  }
}

/** Releases memory whenever the process is idle, until the returned function is called. */
export function releaseWhenIdle(
  onReleased: (heldMillis: number) => void,
  { everyMillis = 2_000, release = releaseMemory } = {},
): () => void {
  let usage = process.cpuUsage();
  // Startup counts as work: it leaves the most garbage.
  const check = new IdleCheck(millisOf(usage));
  let at = performance.now();
  const timer = setInterval(() => {
    const spent = millisOf(process.cpuUsage(usage));
    if (check.sample(spent, performance.now() - at)) onReleased(release());
    // Read again, so that the collection does not count as work.
    usage = process.cpuUsage();
    at = performance.now();
  }, everyMillis);
  timer.unref();
  return () => clearInterval(timer);
}

const millisOf = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1000;
