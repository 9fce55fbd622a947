/**
 * Decides when the daemon has come to rest behind work, and its memory is given back. While calls
 * come, nothing is done: the pause would be theirs.
 */
import { releaseMemory } from '../host/process/memory.js';

/** Work below this leaves too little behind to be worth a collection. Processor time. */
const workMillisMin = 100;
/** A process that rests still has timers: this part of one processor. */
const restShare = 0.05;
/**
 * Looks in a row at which it must rest. At the first of these memory is given back, and at the
 * second what only the first collection made free: buffers that were waiting for it.
 */
const releasingLooks: readonly number[] = [2, 3];

/** Looks at the processor time of the whole process, at even intervals. */
export class RemainderCheck {
  #workMillis: number;
  #quietLooks = 0;

  /** `workMillis`: what was worked before the first look. */
  constructor(workMillis: number) {
    this.#workMillis = workMillis;
  }

  /** Whether memory is to be given back now. */
  see(processorMillis: number, elapsedMillis: number): boolean {
    if (processorMillis > elapsedMillis * restShare) {
      this.#workMillis += processorMillis;
      this.#quietLooks = 0;
      return false;
    }
    this.#quietLooks += 1;
    if (this.#workMillis < workMillisMin) return false;
    if (this.#quietLooks >= Math.max(...releasingLooks)) this.#workMillis = 0;
    return releasingLooks.includes(this.#quietLooks);
  }
}

/** Gives memory back whenever the process rests, until the answer is called. */
export function releaseAtRest(
  onReleased: (heldMillis: number) => void,
  { everyMillis = 2_000, release = releaseMemory } = {},
): () => void {
  let processor = process.cpuUsage();
  // The start itself is work, and leaves the most behind.
  const verdict = new RemainderCheck(millisOf(processor));
  let at = performance.now();
  const timer = setInterval(() => {
    const spent = millisOf(process.cpuUsage(processor));
    if (verdict.see(spent, performance.now() - at)) onReleased(release());
    // Read again: the collection itself is no work of the daemon's.
    processor = process.cpuUsage();
    at = performance.now();
  }, everyMillis);
  timer.unref();
  return () => clearInterval(timer);
}

const millisOf = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1000;
