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

it.each(['999999999999999', '9007199254740990', '5000000'])(
  'the far number %s does not carry our ids away with it',
  async (name) => {
    root = testRoot();
    fs.mkdirSync(root.path);
    await (await TestDaemon.open(root)).close();
    fs.mkdirSync(`${root.snapshots}/${name}`);
    const first = await TestDaemon.open(root);
    await first.layer('layer');
    expect(first.directories()).toEqual(['1']);
    await first.cleanup();
    await first.close();
    daemon = await TestDaemon.open(root);
    expect(daemon.assembled.plan.findings).toEqual([]);
    expect(fs.readFileSync(`${daemon.fs(1)}/layer`, 'utf8')).toBe('layer');
  },
);

it('a near number is not given to a snapshot', async () => {
  root = testRoot();
  fs.mkdirSync(root.path);
  await (await TestDaemon.open(root)).close();
  fs.mkdirSync(`${root.snapshots}/41`);
  daemon = await TestDaemon.open(root);
  expect(told(await daemon.prepare('a'))).toBe('ok');
  expect(daemon.directories()).toEqual(['42']);
});
