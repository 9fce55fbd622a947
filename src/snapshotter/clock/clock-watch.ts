/**
 * Whether the wall clock can be believed. It is compared with the monotonic clock, which is never
 * set: what is decided by the wall clock and cannot be undone waits until both have agreed for a
 * while. Holds no timer: it reads the clocks when it is asked to.
 */
import type { Clock } from '../../base/ports.js';
import type { UnixNanos } from '../../base/units.js';

interface Reading {
  readonly wall: UnixNanos;
  readonly monotonicMillis: number;
}

const NANOS_PER_MILLI = 1_000_000n;

/** A smaller difference is that of two clocks that are read one after the other on a busy machine. */
const STEP_NANOS_MIN = 1_000_000_000n;
/** Twice as many as a stretch needs at the distance that is kept. */
const READINGS_MAX = 256;
/** So many times of the log are asked for at most: a busy log has too many to look at all. */
const TIMES_MAX = 100;
/** A reading during which the process was stopped says nothing; after so many, the last one counts. */
const ATTEMPTS = 5;
const READING_MILLIS_MAX = 50;

export class ClockWatch {
  readonly #clock: Pick<Clock, 'now' | 'monotonicMillis'>;
  readonly #stretchMillis: number;
  #last: Reading;
  /** By rising wall time: a clock that was set back contradicts what it showed before. */
  readonly #readings: Reading[];

  /** `stretchMillis`: how long both clocks must agree before a time is settled. */
  constructor(clock: Pick<Clock, 'now' | 'monotonicMillis'>, stretchMillis: number) {
    this.#clock = clock;
    this.#stretchMillis = stretchMillis;
    this.#last = readingOf(clock);
    this.#readings = [this.#last];
  }

  /** What the wall clock showed at the last reading. */
  get wall(): UnixNanos {
    return this.#last.wall;
  }

  /**
   * Reads the clocks. Answers by how many nanoseconds the wall clock was set since the last
   * reading, below zero for back; 0 when it was not.
   */
  read(): bigint {
    const before = this.#last;
    const reading = readingOf(this.#clock);
    this.#last = reading;
    const step = reading.wall - before.wall - elapsedNanos(before, reading);
    const isStep = step >= STEP_NANOS_MIN || step <= -STEP_NANOS_MIN;
    this.#take(reading, isStep);
    return isStep ? step : 0n;
  }

  /**
   * The newest time that is settled; null when none is. A time is settled when the clocks have
   * agreed for the stretch since. Of a step ahead half a stretch counts at most, so two further
   * ones settle a time too: a machine that is paused again and again sees nothing but steps.
   *
   * @param before times from before the first reading, as the log has them, newest first
   */
  async settledTime(before: AsyncIterable<UnixNanos>): Promise<UnixNanos | null> {
    this.read();
    const stretch = BigInt(this.#stretchMillis) * NANOS_PER_MILLI;
    const stepMax = stretch / 2n;
    let settled = 0n;
    let later = this.#last;
    for (const reading of this.#readings.toReversed()) {
      const passed = later.wall - reading.wall;
      const agreed = least(passed, elapsedNanos(reading, later));
      settled += agreed + least(passed - agreed, stepMax);
      later = reading;
      if (settled >= stretch) return reading.wall;
    }
    let { wall } = later;
    let asked = 0;
    for await (const time of before) {
      if (time < wall) {
        settled += least(wall - time, stepMax);
        wall = time;
      }
      if (settled >= stretch) return wall;
      if ((asked += 1) === TIMES_MAX) break;
    }
    return null;
  }

  #take(reading: Reading, isStep: boolean): void {
    const readings = this.#readings;
    while ((readings.at(-1)?.wall ?? reading.wall - 1n) >= reading.wall) readings.pop();
    const newest = readings.at(-1);
    const distance = (this.#stretchMillis / READINGS_MAX) * 2;
    const isFar =
      newest === undefined || reading.monotonicMillis - newest.monotonicMillis >= distance;
    if (isStep || isFar) readings.push(reading);
    if (readings.length > READINGS_MAX) readings.shift();
  }
}

/** Both clocks at one moment, as near as can be had. */
function readingOf(clock: Pick<Clock, 'now' | 'monotonicMillis'>): Reading {
  for (let attempt = 1; ; attempt += 1) {
    const begun = clock.monotonicMillis();
    const wall = clock.now();
    const ended = clock.monotonicMillis();
    if (ended - begun <= READING_MILLIS_MAX || attempt === ATTEMPTS) {
      return { wall, monotonicMillis: ended };
    }
  }
}

const elapsedNanos = (from: Reading, to: Reading): bigint =>
  BigInt(Math.round((to.monotonicMillis - from.monotonicMillis) * 1e6));

const least = (one: bigint, other: bigint): bigint => (one < other ? one : other);
