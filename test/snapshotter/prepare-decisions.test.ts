/**
 * Which commands one Prepare has decided, and how often: `decide` itself runs, and its calls are
 * recorded. Preparation.#prepare says why each of them is there.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Labels } from '../../src/base/units.js';
import { decide } from '../../src/machines/decide.js';
import { TestDaemon, testRoot, told, type TestRoot } from '../support/daemon.js';

vi.mock('../../src/machines/decide.js', { spy: true });

const REF = 'sha256:aa';
const READY = 'AlreadyExists TargetReady';

let root: TestRoot;
let daemon: TestDaemon;
let labels: Labels;

beforeEach(async () => {
  root = testRoot();
  labels = root.addLayer(REF);
  daemon = await TestDaemon.open(root, { remote: true });
  vi.mocked(decide).mockClear();
});

afterEach(async () => {
  expect(daemon.fatal).toEqual([]);
  await daemon.close();
  root.remove();
});

function decided(): string[] {
  const commands = vi.mocked(decide).mock.calls.map(([, , { command }]) => command);
  vi.mocked(decide).mockClear();
  return commands;
}

it('a remote layer: to begin, and for each effect that ends', async () => {
  expect(told(await daemon.prepare('k', null, labels))).toBe(READY);
  expect(decided()).toEqual(['Prepare', 'DirectoriesReady', 'RemoteReady']);
});

it('a remote layer that is not available: the same, with the failure', async () => {
  daemon.fileSystem.beforeMount = () => Promise.reject(new Error('the server does not answer'));
  expect(told(await daemon.prepare('k', null, labels))).toBe('ok');
  expect(decided()).toEqual(['Prepare', 'DirectoriesReady', 'RemoteFailed']);
});

it('a remote layer that is ready: once, before it is checked', async () => {
  await daemon.prepare('k', null, labels);
  decided();
  expect(told(await daemon.prepare('later', null, labels))).toBe(READY);
  expect(decided()).toEqual(['Prepare']);
});

it('an ordinary snapshot: to begin, and when its directories exist', async () => {
  expect(told(await daemon.prepare('k', null))).toBe('ok');
  expect(decided()).toEqual(['Prepare', 'DirectoriesReady']);
});

it('a child of a remote layer: before the check of the layer and after it', async () => {
  await daemon.prepare('k', null, labels);
  decided();
  expect(told(await daemon.prepare('child', REF))).toBe('ok');
  expect(decided()).toEqual(['Prepare', 'Prepare', 'DirectoriesReady']);
});

it('a key in use: refused before any layer is checked, whether ready or below', async () => {
  await daemon.prepare('k', null, labels);
  expect(told(await daemon.prepare('used', null))).toBe('ok');
  decided();
  let checks = 0;
  daemon.fileSystem.beforeCheck = () => {
    checks += 1;
    return Promise.resolve();
  };
  expect(told(await daemon.prepare('used', null, labels))).toBe('AlreadyExists NameInUse');
  expect(told(await daemon.prepare('used', REF))).toBe('AlreadyExists NameInUse');
  expect(decided()).toEqual(['Prepare', 'Prepare']);
  expect(checks).toBe(0);
});
