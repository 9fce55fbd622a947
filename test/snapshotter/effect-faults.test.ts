/** What a caller is told of an effect that failed is what the log says, and the daemon knows of bugs. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { InvariantBroken } from '../../src/base/assert.js';
import { HostFault, TimeLimitPassed } from '../../src/base/errors.js';
import type { SnapshotDirectories } from '../../src/base/ports.js';
import { TestDaemon, testRoot, type TestRoot } from '../support/daemon.js';

let root: TestRoot;
let daemon: TestDaemon | null = null;
/** Thrown by the next call of the method. */
let next: { readonly method: 'prepare' | 'measure'; readonly thrown: Error } | null = null;

const failing = (real: SnapshotDirectories): SnapshotDirectories =>
  new Proxy(real, {
    get: (target, method) => {
      const found: unknown = Reflect.get(target, method, target);
      if (typeof found !== 'function') return found;
      if (next?.method !== method) return found.bind(target) as unknown;
      const { thrown } = next;
      next = null;
      return () => Promise.reject(thrown);
    },
  });

beforeEach(() => {
  root = testRoot();
});

afterEach(async () => {
  await daemon?.close();
  root.remove();
});

const faults: readonly (readonly [Error, Readonly<Record<string, string>>])[] = [
  [new HostFault('mkdir', '/snapshots/1', 'ENOSPC'), { kind: 'HostFault', errno: 'ENOSPC' }],
  [new TimeLimitPassed('prepareDirectories', 20_000), { kind: 'TimeLimitPassed' }],
  [new Error('something else'), { kind: 'Error' }],
];

it.each(faults)('%s is recorded as it is told, by Prepare and by Commit', async (thrown, fault) => {
  daemon = await TestDaemon.open(root, { directories: failing });
  const told = { name: fault['kind'], message: thrown.message };
  next = { method: 'prepare', thrown };
  await expect(daemon.prepare('k')).rejects.toMatchObject(told);
  const [abandoned] = await daemon.eventsOfType('SnapshotAbandoned');
  expect(abandoned?.data).toEqual({ reason: thrown.message, fault, inferred: false });

  await daemon.prepare('k');
  next = { method: 'measure', thrown };
  await expect(daemon.commit('k', 'layer')).rejects.toMatchObject(told);
  const [failed] = await daemon.eventsOfType('SnapshotCommitFailed');
  expect(failed?.data).toEqual({ reason: thrown.message, fault });
  expect(daemon.fatal).toEqual([]);
});

it('a broken invariant in an effect ends the daemon', async () => {
  daemon = await TestDaemon.open(root, { directories: failing });
  const thrown = new InvariantBroken('a bug');
  next = { method: 'prepare', thrown };
  await expect(daemon.prepare('k')).rejects.toThrow('an invariant is broken');
  expect(daemon.fatal).toEqual([thrown]);
});
