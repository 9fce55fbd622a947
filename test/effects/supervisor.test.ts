/**
 * The supervisor on a clock of its own: places, limits, attempts, and what one actor's fate is
 * to the others.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NotBegun, TimeLimitPassed } from '../../src/base/errors.js';
import { snapshotId } from '../../src/base/units.js';
import { backoffMillis, defaultPolicies, type EffectPolicies } from '../../src/effects/policies.js';
import { Supervisor, type EffectRun } from '../../src/effects/supervisor.js';
import { settle, VirtualClock } from '../support/virtual-clock.js';

const policies: EffectPolicies = {
  ...defaultPolicies,
  checkLayer: {
    concurrency: 2,
    timeLimitMillis: 1000,
    waitLimitMillis: 3000,
    retries: 0,
    backoffMillis: 0,
    backoffMillisMax: 0,
  },
  removeDirectories: {
    concurrency: 1,
    timeLimitMillis: 1000,
    waitLimitMillis: null,
    retries: 3,
    backoffMillis: 100,
    backoffMillisMax: 250,
  },
};

let clock: VirtualClock;
let supervisor: Supervisor;
let failures: string[];
let health: string[];

beforeEach(() => {
  clock = new VirtualClock();
  failures = [];
  health = [];
  supervisor = new Supervisor({
    clock,
    policies,
    failureLimit: { failures: 3, withinMillis: 10_000 },
    observer: {
      effectFailed: (effect, snapshot, reason) => failures.push(`${effect} ${snapshot}: ${reason}`),
      healthChanged: (now) => health.push(now),
    },
    random: () => 0,
  });
});

afterEach(() => {
  supervisor.close();
});

/** Work that ends when the test says so, and notes how it is treated. */
class Task {
  starts = 0;
  signals: AbortSignal[] = [];
  #ends: { resolve: (value: string) => void; reject: (reason: Error) => void }[] = [];

  readonly work = (signal: AbortSignal): Promise<string> => {
    this.starts += 1;
    this.signals.push(signal);
    return new Promise((resolve, reject) => this.#ends.push({ resolve, reject }));
  };

  async finish(value = 'done'): Promise<void> {
    this.#ends.shift()?.resolve(value);
    await settle();
  }

  async fail(message: string): Promise<void> {
    this.#ends.shift()?.reject(new Error(message));
    await settle();
  }
}

function check(task: Task, id: number | null = null): EffectRun<string> {
  const snapshot = id === null ? null : snapshotId(id);
  return watched(supervisor.run({ effect: 'checkLayer', snapshot, work: task.work }));
}

function removal(task: Task, id = 1): EffectRun<string> {
  const run = supervisor.run({
    effect: 'removeDirectories',
    snapshot: snapshotId(id),
    work: task.work,
  });
  return watched(run);
}

/** Each test looks at results in its own time. */
function watched(run: EffectRun<string>): EffectRun<string> {
  run.result.catch(() => undefined);
  return run;
}

const states = () => supervisor.actors().map(({ state }) => state);

describe('places', () => {
  it('are as many as the policy says; the rest wait, first come, first served', async () => {
    const tasks = [1, 2, 3, 4].map(() => new Task());
    const runs = tasks.map((task) => check(task));
    expect(tasks.map(({ starts }) => starts)).toEqual([1, 1, 0, 0]);
    expect(states()).toEqual(['running', 'running', 'waiting', 'waiting']);
    await tasks[1]?.finish();
    expect(tasks.map(({ starts }) => starts)).toEqual([1, 1, 1, 0]);
    await tasks[0]?.finish();
    expect(tasks.map(({ starts }) => starts)).toEqual([1, 1, 1, 1]);
    await tasks[2]?.finish();
    await tasks[3]?.finish('last');
    await expect(runs[3]?.result).resolves.toBe('last');
    expect(states()).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  it('of one kind of effect are not those of another', () => {
    const tasks = [new Task(), new Task(), new Task()];
    tasks.slice(0, 2).forEach((task) => check(task));
    const other = tasks[2];
    if (other !== undefined) removal(other);
    expect(other?.starts).toBe(1);
  });

  it('are not waited for longer than a client can wait', async () => {
    const busy = [new Task(), new Task()];
    busy.forEach((task) => check(task));
    const third = new Task();
    const run = check(third);
    await clock.advance(3001);
    await expect(run.result).rejects.toThrow(NotBegun);
    await busy[0]?.finish();
    expect(third.starts).toBe(0);
  });

  it('go to the next when one who waits is stopped', async () => {
    const [first, second, third, fourth] = [new Task(), new Task(), new Task(), new Task()];
    check(first);
    check(second);
    const waiting = check(third);
    check(fourth);
    waiting.stop(new Error('no longer wanted'));
    await expect(waiting.result).rejects.toThrow('no longer wanted');
    await first.finish();
    expect([third.starts, fourth.starts]).toEqual([0, 1]);
  });
});

describe('the time limit', () => {
  it('is told to the caller at once, and to the work by its signal', async () => {
    const task = new Task();
    const run = check(task, 7);
    await clock.advance(999);
    expect(task.signals[0]?.aborted).toBe(false);
    await clock.advance(1);
    await expect(run.result).rejects.toThrow(TimeLimitPassed);
    expect(task.signals[0]?.aborted).toBe(true);
    expect(failures).toEqual(['checkLayer 7: checkLayer did not finish within 1000 ms']);
  });

  it('does not free the place of work that ignores it', async () => {
    const hanging = [new Task(), new Task()];
    hanging.forEach((task) => check(task));
    await clock.advance(1500);
    const next = new Task();
    const run = check(next);
    expect(next.starts).toBe(0);
    expect(states()).toEqual(['abandoned', 'abandoned', 'waiting']);
    await hanging[0]?.finish('too late');
    expect(next.starts).toBe(1);
    await next.finish();
    await expect(run.result).resolves.toBe('done');
    expect(states()).toEqual(['abandoned']);
  });

  it('counts for nobody who only waits for a place', async () => {
    const busy = [new Task(), new Task()];
    busy.forEach((task) => check(task));
    const third = new Task();
    const run = check(third);
    await clock.advance(900);
    await busy[0]?.finish();
    await clock.advance(900);
    await third.finish('in time');
    await expect(run.result).resolves.toBe('in time');
  });

  it('lets what hangs be begun again only when it has ended', async () => {
    const task = new Task();
    const first = check(task, 7);
    await clock.advance(1001);
    await expect(check(task, 7).result).rejects.toThrow(NotBegun);
    expect(task.starts).toBe(1);
    let isIdle = false;
    void first.idle.then(() => (isIdle = true));
    await settle();
    expect(isIdle).toBe(false);
    await task.finish();
    expect(isIdle).toBe(true);
    const again = check(task, 7);
    await task.finish('fresh');
    await expect(again.result).resolves.toBe('fresh');
  });

  it('is followed by another attempt only once the work has ended', async () => {
    const task = new Task();
    const run = removal(task);
    await clock.advance(60_000);
    expect(task.starts).toBe(1);
    expect(states()).toEqual(['overdue']);
    await task.finish('too late');
    expect(states()).toEqual(['backing off']);
    await clock.advance(100);
    expect(task.starts).toBe(2);
    await task.finish('in time');
    await expect(run.result).resolves.toBe('in time');
  });

  it('ends a run that is stopped while its work goes on, and begins nothing after', async () => {
    const task = new Task();
    const run = removal(task);
    await clock.advance(1001);
    run.stop(new Error('enough'));
    await expect(run.result).rejects.toThrow('enough');
    await task.finish();
    await clock.advance(60_000);
    expect(task.starts).toBe(1);
    expect(supervisor.actors()).toEqual([]);
  });
});

describe('attempts', () => {
  it('follow one another after a wait that doubles up to a maximum', async () => {
    const task = new Task();
    const run = removal(task);
    for (const wait of [100, 200, 250]) {
      await task.fail('busy');
      expect(states()).toEqual(['backing off']);
      const before = task.starts;
      await clock.advance(wait - 1);
      expect(task.starts).toBe(before);
      await clock.advance(1);
      expect(task.starts).toBe(before + 1);
    }
    await task.fail('still busy');
    await expect(run.result).rejects.toThrow('still busy');
    expect(failures).toHaveLength(4);
    expect(clock.timers).toBe(1);
  });

  it('never end where the policy has no last one, and each is reported', async () => {
    const task = new Task();
    const failed: unknown[] = [];
    const onAttemptFailed = (thrown: unknown) => failed.push(thrown);
    const request = { effect: 'removeRemote', snapshot: snapshotId(1), work: task.work } as const;
    const run = watched(supervisor.run({ ...request, onAttemptFailed }));
    for (let attempt = 1; attempt <= 20; attempt += 1) {
      expect(task.starts).toBe(attempt);
      await task.fail(`attempt ${attempt}`);
      expect(failed).toHaveLength(attempt);
      // No back-off is longer than the maximum.
      await clock.advance(defaultPolicies.removeRemote.backoffMillisMax);
    }
    await task.finish('gone');
    await expect(run.result).resolves.toBe('gone');
  });

  it('follow at once when a caller ends the back-off', async () => {
    const task = new Task();
    const run = removal(task);
    // A run that is at work is left as it is.
    run.retryNow();
    expect(task.starts).toBe(1);
    await task.fail('busy');
    run.retryNow();
    expect(task.starts).toBe(2);
    await task.finish();
    await expect(run.result).resolves.toBe('done');
    run.retryNow();
    expect(task.starts).toBe(2);
  });

  it('end with the first that succeeds', async () => {
    const task = new Task();
    const run = removal(task);
    await task.fail('busy');
    await clock.advance(100);
    await task.finish('at last');
    await expect(run.result).resolves.toBe('at last');
  });

  it('leave the place to others while they back off', async () => {
    const [first, second] = [new Task(), new Task()];
    removal(first, 1);
    removal(second, 2);
    await first.fail('busy');
    expect(second.starts).toBe(1);
  });

  it('draw jitter of up to a quarter, downwards', () => {
    const policy = { ...defaultPolicies.restoreLayer, backoffMillis: 1000, backoffMillisMax: 8000 };
    expect([0, 1, 2, 3, 4, 99].map((attempts) => backoffMillis(policy, attempts, 0))).toEqual([
      1000, 2000, 4000, 8000, 8000, 8000,
    ]);
    expect(backoffMillis(policy, 0, 0.999)).toBe(750);
  });
});

describe('faults', () => {
  it('of one actor disturb no sibling', async () => {
    const [good, bad] = [new Task(), new Task()];
    const [healthy, broken] = [check(good), check(bad)];
    await bad.fail('broken');
    await expect(broken.result).rejects.toThrow('broken');
    await good.finish('fine');
    await expect(healthy.result).resolves.toBe('fine');
  });

  it.each([
    [
      'throws before it has begun',
      () => {
        throw new Error('at once');
      },
      'at once',
    ],
    ['rejects', () => Promise.reject(new Error('later')), 'later'],
  ])('are told when the work %s', async (_how, work: () => Promise<string>, message) => {
    const run = watched(supervisor.run({ effect: 'checkLayer', snapshot: null, work }));
    await expect(run.result).rejects.toThrow(message);
    expect(supervisor.actors()).toEqual([]);
    const task = new Task();
    check(task);
    check(task);
    expect(task.starts).toBe(2);
  });

  it('make the supervisor degraded when they come too fast, and quiet heals it', async () => {
    const failOnce = async () => {
      const task = new Task();
      check(task);
      await task.fail('broken');
    };
    await failOnce();
    await failOnce();
    expect(supervisor.health).toBe('healthy');
    await failOnce();
    expect(supervisor.health).toBe('degraded');
    await clock.advance(9_000);
    expect(supervisor.health).toBe('degraded');
    await clock.advance(2_000);
    expect(supervisor.health).toBe('healthy');
    expect(health).toEqual(['degraded', 'healthy']);
  });

  it('that come slowly leave it healthy', async () => {
    for (let count = 0; count < 10; count += 1) {
      const task = new Task();
      check(task);
      await task.fail('now and then');
      await clock.advance(5_001);
    }
    expect(health).toEqual([]);
  });
});

describe('close', () => {
  it('ends everything: what runs, what waits, what backs off', async () => {
    const tasks = [new Task(), new Task(), new Task()];
    const runs = tasks.map((task) => check(task));
    const backingOff = new Task();
    runs.push(removal(backingOff));
    await backingOff.fail('busy');
    supervisor.close();
    for (const run of runs) await expect(run.result).rejects.toThrow('closed');
    expect(tasks[0]?.signals[0]?.aborted).toBe(true);
    expect(clock.timers).toBe(0);
    await tasks[0]?.finish();
    expect(tasks[2]?.starts).toBe(0);
  });
});
