/** Recovery runs while clients are served: what they have begun is none of its business. */
import { afterEach, expect, it } from 'vitest';
import { TestDaemon, testRoot, told, valueOf, type TestRoot } from '../support/daemon.js';

let root: TestRoot | null = null;
let daemon: TestDaemon | null = null;

afterEach(async () => {
  await daemon?.close();
  root?.remove();
  daemon = root = null;
});

it('does not abandon a commit that a client began since the start', async () => {
  root = testRoot();
  daemon = await TestDaemon.open(root);
  valueOf(await daemon.prepare('key'));
  const committing = daemon.commit('key', 'layer');
  await daemon.assembled.recover();
  expect(told(await committing)).toBe('ok');
  expect(daemon.list()).toEqual(['layer']);
});
