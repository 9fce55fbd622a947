/**
 * Goal: a restore that hangs keeps its directory from being deleted until it has ended, however
 * often the layer is asked for meanwhile. Method: a mount that is held, more requests for the
 * layer, its Remove; when the mount wakes up, its directory must still stand.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Labels } from '../../../src/base/units.js';
import {
  mountpointsBelow,
  TestDaemon,
  testRoot,
  told,
  until,
  type TestRoot,
} from '../../support/daemon.js';
import { LOST, policies, READY, REF, Unruly } from './support.js';

let root: TestRoot;
let labels: Labels;
let daemon: TestDaemon;
let unruly: Unruly;

async function start(): Promise<void> {
  daemon = await TestDaemon.open(root, {
    remote: true,
    policies,
    fileSystem: (good, host) => (unruly = new Unruly(REF, good, host)),
  });
}

beforeEach(async () => {
  root = testRoot();
  labels = root.addLayer(REF);
  await start();
});

afterEach(async () => {
  unruly.heal();
  expect(daemon.fatal).toEqual([]);
  await daemon.close();
  root.remove();
});
describe('a restore that hangs', () => {
  it.each([0, 1, 2])(
    'keeps its directory from Remove, %i attempts later too',
    async (more) => {
      expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
      expect(told(await daemon.prepare('child', REF, new Map()))).toBe('ok');
      let stood: boolean | null = null;
      unruly.deeds = {
        check: () => Promise.reject(new Error('stale')),
        mount: async ({ held, properly }) => {
          await held();
          stood = fs.existsSync(daemon.fs(1));
          await properly();
        },
      };
      for (let n = 0; n <= more; n += 1) expect(told(await daemon.mounts('child'))).toBe(LOST);
      expect(told(await daemon.remove('child'))).toBe('ok');
      expect(told(await daemon.remove(REF))).toBe('ok');
      await until('the child is gone', () => !daemon.directories().includes('2'));
      unruly.heal();
      await until('it rests', () => daemon.snapshotter.actors().length === 0);
      await until('gone', () => daemon.directories().length === 0);
      expect(stood).toBe(true);
      expect(mountpointsBelow(root.snapshots)).toEqual([]);
    },
    30_000,
  );
});
