/**
 * Goal: a wall clock that is wrong, for a moment or for years, loses no history, keeps none for
 * ever, delays no retry, and stands in the log. Method: real lives under a clock that is set by
 * hand; days pass on both clocks, and steps on one.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../src/base/ports.js';
import { unixNanos } from '../../src/base/units.js';
import { defaultPolicies } from '../../src/effects/policies.js';
import type { BindFileSystem } from '../support/bind-file-system.js';
import {
  TestDaemon,
  testRoot,
  told,
  until,
  valueOf,
  type TestDaemonOptions,
  type TestRoot,
} from '../support/daemon.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

let root: TestRoot;
let running: TestDaemon | null;
let clock: SetClock;
beforeEach(() => {
  root = testRoot();
  running = null;
  clock = new SetClock();
});
afterEach(async () => {
  await running?.close();
  root.remove();
});

class SetClock {
  /** How far somebody has set the wall clock. */
  setMillis = 0;
  /** What has passed on both clocks without anybody waiting. */
  passedMillis = 0;

  readonly over = (real: Clock): Clock => ({
    now: () => unixNanos(real.now() + BigInt(this.setMillis + this.passedMillis) * 1_000_000n),
    monotonicMillis: () => real.monotonicMillis() + this.passedMillis,
    schedule: (delay, callback) => real.schedule(delay, callback),
  });
}

async function start(options: TestDaemonOptions = {}): Promise<TestDaemon> {
  running = await TestDaemon.open(root, {
    ...{ retainMillis: DAY, segmentBytes: 64 * 1024, checkpointEveryEvents: 20 },
    ...{ clock: clock.over, ...options },
  });
  return running;
}

async function stop(): Promise<void> {
  const daemon = running;
  running = null;
  // With a last checkpoint, and a last look at what may be dropped.
  await daemon?.close();
}

/** Several segments of log, and several checkpoints. */
async function write(daemon: TestDaemon): Promise<void> {
  const labels = new Map([['padding', 'x'.repeat(4000)]]);
  const key = `key-${daemon.list().length}`;
  valueOf(await daemon.prepare(key, null, labels));
  for (let round = 0; round < 50; round += 1) valueOf(await daemon.update(key, labels));
}

const hasFirstSegment = () => fs.existsSync(`${root.path}/log/${'0'.repeat(20)}.seg`);

async function stepsInDays(): Promise<number[]> {
  const steps = (await running?.eventsOfType('ClockStepped')) ?? [];
  return steps.map(({ data }) => Math.round(Number(data['byMillis']) / DAY));
}

describe('history', () => {
  it('is kept when the clock is ahead for a moment, also over a restart', async () => {
    const first = await start();
    await write(first);
    clock.setMillis = 30 * DAY;
    await write(first);
    expect(await stepsInDays()).toEqual([30]);
    expect(first.warnings).toEqual(['the clock was set ahead']);
    await stop();
    expect(hasFirstSegment()).toBe(true);
    await write(await start());
    await stop();
    expect(hasFirstSegment()).toBe(true);
    clock.setMillis = 0;
    const daemon = await start();
    expect(daemon.warnings).toEqual(['the clock is behind the newest event of the log']);
    await write(daemon);
    expect(await stepsInDays()).toEqual([30, -30]);
    await stop();
    expect(hasFirstSegment()).toBe(true);
    // It is kept for a day, and no longer.
    const later = await start();
    clock.passedMillis += 2 * DAY;
    await write(later);
    clock.passedMillis += 2 * HOUR;
    await write(later);
    await stop();
    expect(hasFirstSegment()).toBe(false);
  });

  it('is dropped behind a segment that was begun while the clock was years ahead', async () => {
    clock.setMillis = 10 * YEAR;
    const daemon = await start();
    await write(daemon);
    clock.setMillis = 0;
    await write(daemon);
    for (let day = 0; day < 3; day += 1) {
      clock.passedMillis += DAY;
      await write(daemon);
    }
    expect(daemon.warnings).toEqual(['the clock was set back']);
    await stop();
    expect(hasFirstSegment()).toBe(false);
  });

  it('is kept when the machine boots in 1970 and is set right later', async () => {
    await write(await start({ retainMillis: 30 * DAY }));
    await stop();
    clock.setMillis = -50 * YEAR;
    const daemon = await start({ retainMillis: 30 * DAY });
    await write(daemon);
    clock.passedMillis += 2 * HOUR;
    await write(daemon);
    clock.setMillis = 0;
    await write(daemon);
    clock.passedMillis += 2 * HOUR;
    await write(daemon);
    await stop();
    expect(hasFirstSegment()).toBe(true);
  });

  it('is dropped on a machine that is paused again and again', async () => {
    const daemon = await start();
    await write(daemon);
    for (let pause = 0; pause < 4; pause += 1) {
      clock.setMillis += DAY;
      await write(daemon);
    }
    expect(daemon.warnings).toEqual(Array.from({ length: 4 }, () => 'the clock was set ahead'));
    await stop();
    expect(hasFirstSegment()).toBe(false);
  });

  it('is dropped by a program that never lives for an hour', async () => {
    for (let life = 0; life < 6; life += 1) {
      await write(await start());
      await stop();
      clock.passedMillis += DAY;
    }
    expect(hasFirstSegment()).toBe(false);
  });
});

it('a clock that runs too fast is reported once for each event, not for ever', async () => {
  let looks = 0;
  const fast = (real: Clock): Clock => ({
    ...clock.over(real),
    // Two seconds pass whenever somebody looks.
    now: () => unixNanos(real.now() + BigInt((looks += 1)) * 2_000_000_000n),
  });
  const daemon = await start({ clock: fast });
  valueOf(await daemon.prepare('a'));
  await daemon.assembled.log.flush();
  const before = (await daemon.eventsOfType('ClockStepped')).length;
  expect(before).toBeGreaterThan(0);
  await new Promise((resolve) => setImmediate(resolve));
  await daemon.assembled.log.flush();
  expect((await daemon.eventsOfType('ClockStepped')).length).toBe(before);
});

it('a retry that was recorded by a clock years ahead is made after the longest wait at most', async () => {
  const restoreLayer = {
    ...defaultPolicies.restoreLayer,
    ...{ timeLimitMillis: 2000, backoffMillis: 200, backoffMillisMax: 200 },
  };
  const policies = { ...defaultPolicies, restoreLayer };
  const labels = root.addLayer('sha256:aa');
  clock.setMillis = 10 * YEAR;
  const options = { remote: true, policies };
  const first = await start(options);
  expect(told(await first.prepare('k', null, labels))).toBe('AlreadyExists TargetReady');
  await stop();
  const isBroken = (fileSystem: BindFileSystem) => fileSystem.switches.set('sha256:aa', 'broken');
  const lost = await start({ ...options, beforeRecovery: isBroken });
  const at = async () => (await lost.eventsOfType('LayerUnavailable')).at(-1)?.data['retryAt'];
  const nextDecade = `${new Date().getUTCFullYear() + 9}`;
  await until('the next try is recorded', async () => String(await at()) > nextDecade);
  running = null;
  await lost.crash();
  clock.setMillis = 0;
  const after = await start(options);
  await until('it is tried again', async () => {
    return (await after.eventsOfType('LayerAvailable')).length > 0;
  });
});
