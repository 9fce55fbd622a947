/**
 * Goal: a time decides what is dropped only when it has held. Method: a wall clock that is set while
 * a monotonic one goes on, in tables and at random; times in hours.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unixNanos, type UnixNanos } from '../../src/base/units.js';
import { ClockWatch } from '../../src/snapshotter/clock/clock-watch.js';

const HOUR = 3_600_000;
const nanos = (hours: number): UnixNanos =>
  unixNanos(BigInt(Math.round(hours * HOUR)) * 1_000_000n);

/** Both clocks, by hand. */
class TwoClocks {
  wall = 1_000_000;
  monotonic = 5;
  /** Runs once in the middle of the next reading. */
  interrupt: (() => void) | null = null;

  now(): UnixNanos {
    const { interrupt } = this;
    this.interrupt = null;
    interrupt?.();
    return nanos(this.wall);
  }

  monotonicMillis(): number {
    return this.monotonic * HOUR;
  }

  pass(hours: number): void {
    this.wall += hours;
    this.monotonic += hours;
  }
}

async function* times(...hours: number[]): AsyncGenerator<UnixNanos, void, undefined> {
  for (const hour of hours) yield await Promise.resolve(nanos(hour));
}

/** `+3`: three hours pass. `set 5`: the wall clock is set ahead by five. Each is followed by a reading. */
function script(clocks: TwoClocks, watch: ClockWatch, steps: string): number[] {
  return steps.split(', ').flatMap((step) => {
    const [, set, hours = '0'] = /^(set )?([-+.\d]+)$/.exec(step) ?? [];
    if (set === undefined) clocks.pass(Number(hours));
    else clocks.wall += Number(hours);
    const by = watch.read();
    return by === 0n ? [] : [Math.round(Number(by) / 1e6 / HOUR)];
  });
}

/** In hours since the beginning; null when none is. */
async function settledAfter(steps: string, ...before: number[]): Promise<number | null> {
  const clocks = new TwoClocks();
  const begun = clocks.wall;
  const watch = new ClockWatch(clocks, HOUR);
  if (steps !== '') script(clocks, watch, steps);
  const settled = await watch.settledTime(times(...before.map((hours) => begun + hours)));
  return settled === null ? null : Number(settled / 1_000_000n) / HOUR - begun;
}

describe('a time is settled', () => {
  it.each([
    ['not at once', '', null],
    ['not before the stretch has passed', '+0.9', null],
    ['when it has', '+1', 0],
    ['also when nobody looked meanwhile', '+48', 0],
    ['and the next ones after it', '+0.5, +0.5, +0.5', 0.5],
    ['not when the clock is ahead for a moment', '+0.1, set 720, +0.3', null],
    ['nor when that was ahead of a settled one', '+1, +1, set 720, +0.4', 1],
    ['nor after it was set back again', '+1, +1, set 720, +0.4, set -720, +0.1', 1],
    ['but when it stays there', '+2, set 720, +1', 722],
    ['not when it was set back and just runs on', '+2, set -24, +0.9', null],
    ['but a stretch later', '+2, set -24, +1', -22],
    ['from before, when it was set back by less', '+2, set -0.5, +0.1', 0],
    ['after two steps that follow it', '+0.1, set 48, +0.1, set 48, +0.1', 0.1],
    ['not after two that are taken back', '+0.1, set 48, set 48, set -96, +0.1', null],
    ['at a boot in 1970, once the clock is set', 'set 480000, +1', 480_000],
  ])('%s', async (_name, steps, expected) => {
    const settled = await settledAfter(steps);
    if (expected === null) expect(settled).toBeNull();
    else expect(settled).toBeCloseTo(expected, 1);
  });

  it('by the log, in a process that does not live for a stretch', async () => {
    expect(await settledAfter('+0.1')).toBeNull();
    expect(await settledAfter('+0.1', -24)).toBeNull();
    expect(await settledAfter('+0.1', -24, -48)).toBe(-48);
    // An hour and more in small steps.
    expect(await settledAfter('+0.1', -0.3, -0.7, -1, -1.1)).toBeCloseTo(-1, 5);
    // What was written by a clock that was ahead does not count.
    expect(await settledAfter('+0.1', 720, 719, -24)).toBeNull();
    expect(await settledAfter('+0.1', 720, -24, 719, -48)).toBe(-48);
  });

  it('does not read more of a busy log than it needs', async () => {
    let asked = 0;
    async function* busy() {
      for (;;) yield await Promise.resolve(nanos(1_000_000 - (asked += 1) / 3600));
    }
    const watch = new ClockWatch(new TwoClocks(), HOUR);
    expect(await watch.settledTime(busy())).toBeNull();
    expect(asked).toBe(100);
  });
});

it('reports by how much the clock was set, once', () => {
  const clocks = new TwoClocks();
  const watch = new ClockWatch(clocks, HOUR);
  expect(script(clocks, watch, '+1, set 720, +5, set -1, set -719, +0.5')).toEqual([720, -1, -719]);
  // Less than a second is no step, and is not added up.
  for (let index = 0; index < 10; index += 1) {
    clocks.wall += 0.9 / 3600;
    expect(watch.read()).toBe(0n);
  }
  expect(watch.wall).toBe(nanos(clocks.wall));
});

it('reads again when it was stopped between both clocks', () => {
  const clocks = new TwoClocks();
  const watch = new ClockWatch(clocks, HOUR);
  clocks.interrupt = () => clocks.pass(3);
  expect(watch.read()).toBe(0n);
  clocks.interrupt = () => clocks.pass(3);
  expect(watch.read()).toBe(0n);
});

it('never settles a time that a later one contradicts, nor one of an excursion', async () => {
  const step = fc.oneof(
    fc.record({ pass: fc.double({ min: 0, max: 2, noNaN: true }), set: fc.constant(0) }),
    fc.record({ pass: fc.constant(0), set: fc.double({ min: -50, max: 50, noNaN: true }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const clocks = new TwoClocks();
      const watch = new ClockWatch(clocks, HOUR);
      for (const { pass, set } of steps) {
        clocks.pass(pass);
        clocks.wall += set;
        watch.read();
        const settled = await watch.settledTime(times());
        if (settled !== null) expect(settled).toBeLessThanOrEqual(nanos(clocks.wall));
      }
      // Ahead for a moment that is shorter than half the stretch, and back.
      const before = await watch.settledTime(times());
      clocks.wall += 1_000;
      watch.read();
      clocks.pass(0.4);
      const ahead = await watch.settledTime(times());
      const limit = nanos(clocks.wall - 1_000);
      if (ahead !== null) expect(ahead).toBeLessThanOrEqual(limit);
      if (before !== null) expect(ahead).not.toBeNull();
    }),
  );
});
