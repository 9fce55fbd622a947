/** Names in snapshots/ that this program would never give. */
import * as fs from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { TestDaemon, testRoot, told, type TestRoot } from '../support/daemon.js';

let root: TestRoot | null = null;
let daemon: TestDaemon | null = null;

afterEach(async () => {
  await daemon?.close();
  root?.remove();
  daemon = root = null;
});

it('a directory with the greatest exact number does not use up the ids', async () => {
  root = testRoot();
  fs.mkdirSync(root.path);
  await (await TestDaemon.open(root)).close();
  fs.mkdirSync(`${root.snapshots}/${Number.MAX_SAFE_INTEGER}`);
  daemon = await TestDaemon.open(root);
  expect(told(await daemon.prepare('a'))).toBe('ok');
  expect(told(await daemon.prepare('b'))).toBe('ok');
  expect(daemon.directories()).toEqual(['1', '2']);
});
