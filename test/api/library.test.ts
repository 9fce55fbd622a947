/**
 * Goal: whatever a caller of the library can get wrong is refused at once, by name, and changes
 * nothing. Method: the library on a real root, called as JavaScript would that is not compiled.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { assembleSnapshotter } from '../../src/api/assembly.js';
import * as library from '../../src/api/library.js';
import { newSnapshotter, SnapshotError, UsageError } from '../../src/api/library.js';
import type { FileSystem } from '../../src/filesystems/contract.js';

const directory = mkdtempSync(join(tmpdir(), 'stratalog-library-'));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

type Untyped = Record<string, (...given: unknown[]) => Promise<unknown>>;

const open = (...given: unknown[]) => (library as unknown as Untyped)['newSnapshotter']?.(...given);

/** What a call that must be refused says. */
async function refusal(running: Promise<unknown> | undefined): Promise<string> {
  try {
    await running;
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(UsageError);
    return (thrown as Error).message;
  }
  throw new Error('it was not refused');
}

const fileSystem: FileSystem = {
  name: 'none',
  mount: () => Promise.reject(new Error('it has none')),
  check: () => Promise.resolve(),
  unmount: () => Promise.resolve(),
};

describe('newSnapshotter', () => {
  const root = join(directory, 'never');
  const good = { root, fileSystem: null };

  it.each<readonly [string, readonly unknown[], RegExp]>([
    ['nothing', [], /^newSnapshotter: options: expected an object with root, .*, got missing$/],
    ['null', [null], /options: expected an object with .*, got null$/],
    ['a text', ['/root'], /options: expected an object with .*, got a string$/],
    ['a Map', [new Map()], /got an instance of Map$/],
    [
      'no root',
      [{ fileSystem: null }],
      /options\.root: expected the absolute path .* got missing$/,
    ],
    [
      'an empty root',
      [{ ...good, root: '' }],
      /options\.root: expected an absolute path, got an empty string/,
    ],
    [
      'a relative root',
      [{ ...good, root: 'a/b' }],
      /options\.root: expected an absolute path, got a\/b$/,
    ],
    ['a root that is no text', [{ ...good, root: 5 }], /options\.root: .* got a number$/],
    [
      'a root with a zero byte',
      [{ ...good, root: `${root}\0` }],
      /options\.root: a path must be valid UTF-8 without NUL/,
    ],
    [
      'a root that was no UTF-8',
      [{ ...good, root: `${root}\u{fffd}` }],
      /must be valid UTF-8 without NUL bytes$/,
    ],
    [
      'a root that no mount can name',
      [{ ...good, root: `${root},a` }],
      /the path holds ",", which/,
    ],
    [
      'no file system',
      [{ root }],
      /options\.fileSystem: expected a FileSystem .* got missing; use null for none$/,
    ],
    [
      'a file system that is a text',
      [{ root, fileSystem: 'x' }],
      /options\.fileSystem: .* got a string$/,
    ],
    [
      'an empty file system',
      [{ root, fileSystem: {} }],
      /options\.fileSystem: not a FileSystem: name must be a printable string of 1 to 128 characters, mount must be a function, check must be a function, unmount must be a function$/,
    ],
    ...(['mount', 'check', 'unmount'] as const).map(
      (method) =>
        [
          `a file system without ${method}`,
          [{ root, fileSystem: { ...fileSystem, [method]: undefined } }],
          new RegExp(`fileSystem: not a FileSystem: ${method} must be a function$`),
        ] as const,
    ),
    ...['', ' ', 'a\nb', 5, undefined].map(
      (name) =>
        [
          `a file system with the name ${JSON.stringify(name)}`,
          [{ root, fileSystem: { ...fileSystem, name } }],
          /fileSystem: not a FileSystem: name must be a printable string of 1 to 128 characters$/,
        ] as const,
    ),
    [
      'an option that does not exist',
      [{ ...good, asyncRemove: true }],
      /^newSnapshotter: options: unknown option asyncRemove; valid options: root, fileSystem, asynchronousRemove, durability, onWarning, onFatal$/,
    ],
    [
      'a switch that is a text',
      [{ ...good, asynchronousRemove: 'yes' }],
      /asynchronousRemove: expected true or false, got a string$/,
    ],
    [
      'a switch that is null',
      [{ ...good, asynchronousRemove: null }],
      /asynchronousRemove: .* got null$/,
    ],
    [
      'another durability',
      [{ ...good, durability: 'none' }],
      /durability: expected "data" or "metadata", got a string$/,
    ],
    [
      'a warning that is no function',
      [{ ...good, onWarning: {} }],
      /onWarning: expected a function, got an object$/,
    ],
    [
      'a failure that is no function',
      [{ ...good, onFatal: true }],
      /onFatal: expected a function, got a boolean$/,
    ],
    [
      'several mistakes',
      [{ root: 'x', fileSystem: 'x' }],
      /options\.root: expected an absolute path, got .*; options\.fileSystem: expected a FileSystem/,
    ],
  ])('refuses %s', async (_, given, why) => {
    expect(await refusal(open(...given))).toMatch(why);
    expect(existsSync(root)).toBe(false);
  });

  it('takes a file system that is a class, and options that are undefined', async () => {
    class Inherited implements FileSystem {
      readonly name = 'inherited';
      mount = () => Promise.reject(new Error('it has none'));
      check = () => Promise.resolve();
      unmount(): Promise<void> {
        return Promise.resolve();
      }
    }
    const options = { root: join(directory, 'class'), fileSystem: new Inherited() };
    const made = await open({ ...options, onWarning: undefined, durability: undefined });
    await (made as library.SnapshotterApi).close();
  });
});

it('refuses what is no file system wherever it comes from', async () => {
  const root = join(directory, 'assembled');
  const observer = {
    ...{ warning: () => undefined, fatal: () => undefined },
    ...{ effectFailed: () => undefined, healthChanged: () => undefined },
  };
  const running = assembleSnapshotter({ root }, () => ({}) as FileSystem, observer);
  expect(await refusal(running)).toMatch(/^cannot use the remote file system: not a FileSystem/);
});

describe('a call', () => {
  let snapshotter: library.SnapshotterApi;
  beforeAll(async () => {
    snapshotter = await newSnapshotter({ root: join(directory, 'calls'), fileSystem: null });
    await snapshotter.recovered;
  });
  afterAll(() => snapshotter.close());

  const call = (method: string, ...given: unknown[]) =>
    (snapshotter as unknown as Untyped)[method]?.(...given);
  const half = 'a\ud800';
  const signal = new AbortController().signal;

  it.each<readonly [string, readonly unknown[], RegExp]>([
    [
      'prepare',
      [],
      /^prepare: key: expected a string, got missing; parent: expected a string, got/,
    ],
    ['prepare', ['a'], /^prepare: parent: expected a string, got missing$/],
    ['prepare', ['a', null], /^prepare: parent: expected a string, got null$/],
    ['prepare', [half, ''], /^prepare: key: contains a lone surrogate$/],
    [
      'prepare',
      ['a', '', null],
      /^prepare: options: expected an object with labels, signal, .* null$/,
    ],
    ['prepare', ['a', '', signal], /^prepare: options: .* got an instance of AbortSignal$/],
    ['prepare', ['a', '', new Map()], /^prepare: options: .* got an instance of Map$/],
    [
      'prepare',
      ['a', '', { label: {} }],
      /^prepare: options: unknown option label; valid options: labels, signal$/,
    ],
    [
      'prepare',
      ['a', '', { labels: [] }],
      /^prepare: options\.labels: expected a Map or .* an array$/,
    ],
    [
      'prepare',
      ['a', '', { labels: { b: 1 } }],
      /options\.labels: "b": expected a string, .* a number$/,
    ],
    [
      'prepare',
      ['a', '', { labels: { b: half } }],
      /options\.labels: "b": contains a lone surrogate/,
    ],
    [
      'prepare',
      ['a', '', { labels: { [half]: 'b' } }],
      /options\.labels: key "a\\ud800": contains a lone surrogate/,
    ],
    [
      'prepare',
      ['a', '', { labels: new Map([[1, 'b']]) }],
      /options\.labels: key a number: expected a/,
    ],
    ['prepare', ['a', '', { signal: {} }], /options\.signal: expected an AbortSignal, got an obj/],
    ['view', [1, 2], /^view: key: expected a string, got a number; parent: expected a string/],
    ['view', ['a', '', { labels: null }], /^view: options\.labels: .* got null$/],
    ['mounts', [], /^mounts: key: expected a string, got missing$/],
    [
      'mounts',
      ['a', { labels: {} }],
      /^mounts: options: unknown option labels; valid options: signal$/,
    ],
    ['commit', ['a'], /^commit: key: expected a string, got missing$/],
    [
      'commit',
      ['a', 'b', { parent: 'c' }],
      /^commit: options: unknown option parent; valid options: labels/,
    ],
    ['remove', [{}], /^remove: key: expected a string, got an object$/],
    ['stat', [], /^stat: key: expected a string, got missing$/],
    ['update', [], /^update: change: expected an object with name, labels, got missing$/],
    [
      'update',
      [{ name: 'a' }],
      /^update: change\.labels: expected a Map or an object of strings, .* missing$/,
    ],
    [
      'update',
      [{ name: 1, labels: {} }],
      /^update: change\.name: expected a string, got a number$/,
    ],
    [
      'update',
      [{ name: 'a', labels: {} }, ['labels']],
      /^update: paths\[0\]: expected a string, .* an array$/,
    ],
    ['usage', [undefined], /^usage: key: expected a string, got missing$/],
    ['walk', [], /^walk: visit: expected a function, got missing$/],
    ['walk', [() => undefined, 5], /^walk: filters\[0\]: expected a string, got a number$/],
    [
      'cleanup',
      [{ timeout: 5 }],
      /^cleanup: options: unknown option timeout; valid options: signal$/,
    ],
  ])('of %s with %j is refused', async (method, given, why) => {
    expect(await refusal(call(method, ...given))).toMatch(why);
    const seen: unknown[] = [];
    await snapshotter.walk((info) => void seen.push(info));
    expect(seen).toEqual([]);
  });

  it('that is impossible is refused as before', async () => {
    await expect(snapshotter.stat('nobody')).rejects.toThrow(SnapshotError);
    await expect(snapshotter.walk(() => undefined, 'kind==')).rejects.toThrow(SnapshotError);
  });

  it('takes labels as they are when it is made', async () => {
    const labels = new Map([['a', '1']]);
    const preparing = snapshotter.prepare('labelled', '', { labels });
    labels.set('a', '2');
    await preparing;
    expect((await snapshotter.stat('labelled')).labels.get('a')).toBe('1');
    await snapshotter.remove('labelled');
  });
});

describe('close', () => {
  let told: string[];
  beforeEach(() => {
    told = [];
  });
  afterEach(() => {
    expect(told).toEqual([]);
  });

  const opened = (name: string) =>
    newSnapshotter({
      root: join(directory, name),
      fileSystem: null,
      onWarning: (message, fields) => told.push(`${message} ${JSON.stringify(fields)}`),
      onFatal: (fault) => told.push(String(fault)),
    });

  it('right after opening says nothing, and what recovery left is done by the next', async () => {
    for (const isLast of [false, false, true]) {
      const snapshotter = await opened('closed-at-once');
      if (isLast) await snapshotter.prepare('a', '');
      await snapshotter.close();
      await snapshotter.recovered;
    }
  });

  it('ends what is under way, and refuses every call from then on', async () => {
    const snapshotter = await opened('closed');
    const preparing = snapshotter.prepare('a', '');
    const closing = snapshotter.close();
    expect(snapshotter.close()).toBe(closing);
    const closed = 'the snapshotter is closed; open the root again with newSnapshotter';
    const calls: Promise<unknown>[] = [
      ...[snapshotter.prepare('b', ''), snapshotter.view('b', ''), snapshotter.mounts('a')],
      ...[snapshotter.commit('b', 'a'), snapshotter.remove('a'), snapshotter.stat('a')],
      ...[snapshotter.update({ name: 'a', labels: {} }), snapshotter.usage('a')],
      ...[snapshotter.walk(() => undefined), snapshotter.cleanup()],
    ];
    for (const running of calls) expect(await refusal(running)).toBe(closed);
    await Promise.allSettled([preparing, closing]);
    await closing;
    expect(await refusal(snapshotter.stat('a'))).toBe(closed);
    const again = await opened('closed');
    await again.close();
  });
});

it('goes on when a function of the caller throws', async () => {
  const program = `
    import { newSnapshotter } from ${JSON.stringify(new URL('../../src/api/library.ts', import.meta.url).href)};
    import { mkdirSync } from 'node:fs';
    const thrown = [];
    process.on('uncaughtException', (fault) => thrown.push(String(fault)));
    const root = ${JSON.stringify(join(directory, 'thrower'))};
    const snapshotter = await newSnapshotter({
      root,
      fileSystem: null,
      onWarning: () => { throw new Error('of the caller'); },
    });
    await snapshotter.recovered;
    // What stands where directories are made in advance is left, of which a warning tells.
    mkdirSync(root + '/snapshots/5');
    await snapshotter.prepare('a', '');
    while (thrown.length === 0) await new Promise((next) => setTimeout(next, 10));
    await snapshotter.prepare('b', '');
    const { kind } = await snapshotter.stat('b');
    await snapshotter.close();
    console.log(kind, [...new Set(thrown)].join());
  `;
  const args = ['--import', 'tsx', '--input-type', 'module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  expect(stdout).toBe('active Error: of the caller\n');
});
