/**
 * Goal: when the log is older than its directories, nothing that a container wrote is deleted,
 * whatever the log calls it; what is in use is kept, told once, and deleted only when a person
 * names it; and `inspect` plans just that. Method: a snapshotter on real directories and mounts,
 * whose log is cut at every record.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SnapshotDirectories } from '../../src/base/ports.js';
import type { Finding } from '../../src/inspect/startup/findings.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { startupPlan } from '../../src/inspect/startup/startup-plan.js';
import {
  hostOf,
  TestDaemon,
  testRoot,
  told,
  until,
  upperOf,
  valueOf,
  type TestDaemonOptions,
  type TestRoot,
} from '../support/daemon.js';
import { ext4Root } from '../support/ext4-root.js';
import { endLogAt, recordOffsets } from '../support/log-cuts.js';
import { share } from '../support/effort.js';

const KEPT = 'directories that the log knows only as garbage are in use and are kept';
const SET_ASIDE = 'directories are set aside: a person must look at them';

let root: TestRoot;
let daemon: TestDaemon | null = null;

beforeEach(() => {
  root = testRoot();
});
afterEach(async () => {
  await daemon?.close();
  daemon = null;
  root.remove();
});

async function open(options: TestDaemonOptions = {}): Promise<TestDaemon> {
  daemon = await TestDaemon.open(root, { preallocatedDirectories: 4, ...options });
  return daemon;
}

async function crash(): Promise<void> {
  await daemon?.crash();
  daemon = null;
}

const at = (path: string): string => `${root.snapshots}/${path}`;
const mount = (...args: readonly string[]): void => void execFileSync('mount', args);

/** All files in the directories of snapshots, with their content. */
function files(): readonly string[] {
  const found = execFileSync('find', [
    root.snapshots,
    '-type',
    'f',
    '-exec',
    'sha256sum',
    '{}',
    '+',
  ]);
  return found.toString().trimEnd().split('\n').sort();
}

/** What `inspect` prints before a start. */
async function planned(): Promise<readonly Finding[]> {
  const host = hostOf(root);
  const { forest } = (await replayRoot(host.disk, root.path)).replay;
  const world = { ...host, snapshotsPath: root.snapshots, isLive: false };
  return (await startupPlan(forest, world)).findings;
}

/** Names that a plan keeps, and those that it deletes. */
function namesIn(findings: readonly Finding[]) {
  const kept: string[] = [];
  const deleted: string[] = [];
  for (const finding of findings) {
    if (finding.kind === 'LogOlderThanDirectories') {
      kept.push(...finding.directories.map(({ name }) => name));
    }
    if (finding.kind === 'OrphanDirectory') deleted.push(finding.name);
    if (finding.kind === 'PreallocatedDirectories') deleted.push(...finding.ids.map(String));
    if (finding.kind === 'AbandonedPreparation') deleted.push(String(finding.id));
  }
  return { kept: kept.sort(), deleted: deleted.filter((name) => !kept.includes(name)).sort() };
}

async function setAside(): Promise<readonly unknown[]> {
  const events = (await daemon?.eventsOfType('DirectoriesSetAside')) ?? [];
  return events.flatMap(({ data }) => data['directories'] as readonly unknown[]);
}

/** The four directories next to the first snapshot's, with all that is in them. */
const poolFilled = (of: TestDaemon) =>
  until('the pool is filled', () => {
    const names = of.directories();
    const isWhole = (name: string) =>
      ['fs', 'work'].every((part) => fs.existsSync(at(`${name}/${part}`)));
    return names.length === 5 && names.every(isWhole);
  });

/**
 * A layer with a file, two containers on it, of which one has written, one on nothing, a removed
 * one, and preallocated directories.
 */
async function aBusyRoot(): Promise<void> {
  const first = await open();
  await first.layer('A');
  for (const key of ['written', 'idle', 'gone', 'alone']) {
    const parent = key === 'alone' ? null : 'A';
    const upper = upperOf(valueOf(await first.prepare(key, parent)));
    if (key !== 'idle') fs.writeFileSync(`${upper}/data`, `of ${key}`);
  }
  await first.layer('B', 'A');
  expect(told(await first.remove('gone'))).toBe('ok');
  await until('it is gone', async () => (await first.eventsOfType('SnapshotRemoved')).length === 1);
  await first.assembled.log.flush();
  await crash();
}

describe('a log that ends earlier', () => {
  it(
    'at any record has no file deleted, and inspect plans what is done',
    { timeout: 300_000 },
    async () => {
      await aBusyRoot();
      const offsets = share(recordOffsets(root.path), 4);
      const before = files();
      expect(before).toHaveLength(4);
      const copy = `${root.path}.whole`;
      execFileSync('cp', ['-a', root.path, copy]);
      let keptOnce = 0;
      for (const offset of offsets) {
        fs.rmSync(root.path, { recursive: true });
        execFileSync('cp', ['-a', copy, root.path]);
        endLogAt(root.path, offset);
        const names = new Set(fs.readdirSync(root.snapshots));
        const plan = namesIn(await planned());
        const started = await open({ preallocatedDirectories: 0 });
        await started.cleanup();
        const left = fs.readdirSync(root.snapshots);
        expect(files(), `cut at ${offset}`).toEqual(before);
        // The directory of the snapshot that was removed is gone, wherever the log ends now.
        expect([...names].filter((name) => !left.includes(name)).sort()).toEqual(
          plan.deleted.filter((name) => names.has(name)),
        );
        expect((await setAside()).map((one) => (one as { name: string }).name).sort()).toEqual(
          plan.kept,
        );
        keptOnce += plan.kept.length;
        // And no id of these is given again.
        const upper = upperOf(valueOf(await started.prepare(`new at ${offset}`)));
        expect(fs.readdirSync(upper)).toEqual([]);
        await started.close();
        daemon = null;
        // A second start goes on keeping them.
        await open({ preallocatedDirectories: 0 });
        expect(files(), `cut at ${offset}, second start`).toEqual(before);
        await crash();
      }
      expect(keptOnce).toBeGreaterThan(offsets.length);
    },
  );

  it.each<readonly [string, () => readonly string[]]>([
    [
      'upperdir',
      () => [
        '-t',
        'overlay',
        'overlay',
        '-o',
        `lowerdir=${at('1/fs')},upperdir=${at('2/fs')},workdir=${at('2/work')}`,
      ],
    ],
    ['lowerdir', () => ['-t', 'overlay', 'overlay', '-o', `lowerdir=${at('2/fs')}:${at('1/fs')}`]],
    ['bind source', () => ['--bind', at('2/fs')]],
  ])('keeps an empty directory that a container uses as %s', async (as, args) => {
    const first = await open();
    await first.layer('A');
    await poolFilled(first);
    await until('that is recorded', () => first.snapshotter.actors().length === 0);
    const offset = recordOffsets(root.path).at(-1) ?? 0;
    expect(upperOf(valueOf(await first.prepare('container', 'A')))).toBe(at('2/fs'));
    await first.assembled.log.flush();
    await crash();
    const merged = `${root.layers}/merged`;
    fs.mkdirSync(merged);
    mount(...args(), merged);
    endLogAt(root.path, offset);
    expect(namesIn(await planned()).kept).toEqual(['2']);
    const second = await open();
    await second.cleanup();
    expect(await setAside()).toEqual([
      { name: '2', because: 'preallocated', evidence: `the mount on ${merged} uses it as ${as}` },
    ]);
    expect(second.warnings).toEqual([KEPT]);
    fs.writeFileSync(at('2/fs/later'), 'written by the container');
    // Its end does not make it garbage: only a person knows what it is.
    execFileSync('umount', [merged]);
    await second.cleanup();
    expect(fs.readdirSync(at('2/fs'))).toEqual(['later']);
  });

  it('tells of an abandoned preparation whose end it lost, and keeps its directory', async () => {
    const first = await open();
    // The first of all has its directory made for it: its beginning is a record of its own.
    const upper = upperOf(valueOf(await first.prepare('container')));
    fs.writeFileSync(`${upper}/data`, 'x');
    await poolFilled(first);
    const events = await first.events();
    await crash();
    const prepared = events.findIndex(({ type }) => type === 'SnapshotPrepared');
    endLogAt(root.path, recordOffsets(root.path)[prepared] ?? 0);
    expect(namesIn(await planned())).toMatchObject({ kept: ['1'] });
    const second = await open();
    await until(
      'it is ended',
      async () => (await second.eventsOfType('SnapshotRemoved')).length === 1,
    );
    expect((await second.eventsOfType('SnapshotAbandoned'))[0]?.data).toMatchObject({
      inferred: true,
    });
    expect(await setAside()).toEqual([
      { name: '1', because: 'abandoned', evidence: 'fs is not empty' },
    ]);
    expect(fs.readFileSync(`${upper}/data`, 'utf8')).toBe('x');
    // Its name is free, and another directory is given for it.
    const again = upperOf(valueOf(await second.prepare('container')));
    expect(again).not.toBe(upper);
    expect(fs.readdirSync(again)).toEqual([]);
  });
});

describe('what is set aside', () => {
  /** Directory 9 holds a file, and no event speaks of it. */
  async function withUnowned(): Promise<TestDaemon> {
    const first = await open({ preallocatedDirectories: 0 });
    await first.layer('A');
    await first.close();
    fs.mkdirSync(at('9/fs'), { recursive: true });
    fs.writeFileSync(at('9/fs/data'), 'x');
    return open({ preallocatedDirectories: 0 });
  }

  it('is recorded once, warned of at each start, and shown by the plan', async () => {
    const first = await withUnowned();
    expect(first.warnings).toEqual([KEPT]);
    for (let round = 0; round < 3; round += 1) await first.cleanup();
    expect(first.warnings).toEqual([KEPT]);
    const planFor = await first.eventsOfType('RecoveryPlanned');
    expect(planFor.at(-1)?.data).toMatchObject({
      findings: [{ kind: 'LogOlderThanDirectories', action: 'set the directories aside' }],
    });
    expect(first.snapshotter.directoryProblems()).toEqual({ setAside: 1, failing: 0 });
    // By checkpoint and by replay.
    for (const ending of ['close', 'crash'] as const) {
      await daemon?.[ending]();
      const again = await open({ preallocatedDirectories: 0 });
      await again.cleanup();
      expect(again.warnings).toEqual([SET_ASIDE]);
      expect(again.snapshotter.directoryProblems().setAside).toBe(1);
    }
    expect(await setAside()).toHaveLength(1);
    expect(await planned()).toEqual([
      {
        ...{ kind: 'KeptDirectories', because: 'unowned' },
        directories: [{ name: '9', evidence: 'fs is not empty' }],
      },
    ]);
    expect(valueOf(await (daemon as TestDaemon).prepare('new'))).toHaveLength(1);
    expect(fs.existsSync(at('10/fs'))).toBe(true);
  });

  it('goes with its content when a person names it, and nothing that is owned does', async () => {
    const first = await withUnowned();
    expect(told(await first.deleteDirectories('9', '1'))).toBe('FailedPrecondition DirectoryOwned');
    expect(told(await first.deleteDirectories('9', '8'))).toBe('NotFound DirectoryUnknown');
    expect(told(await first.deleteDirectories('77'))).toBe('FailedPrecondition DirectoryOwned');
    expect(first.directories()).toEqual(['1', '9']);
    expect(await first.eventsOfType('DirectoriesReleased')).toEqual([]);
    expect(told(await first.deleteDirectories('9'))).toBe('ok');
    expect(first.directories()).toEqual(['1']);
    const [released] = await first.eventsOfType('DirectoriesReleased');
    expect(released?.data).toEqual({ names: ['9'], because: 'requested', caller: { pid: 7 } });
    expect(first.snapshotter.directoryProblems().setAside).toBe(0);
    await crash();
    await open({ preallocatedDirectories: 0 });
    expect(await planned()).toEqual([]);
  });

  it('is deleted by the next start when a crash came between the request and the deletion', async () => {
    await withUnowned();
    await crash();
    const directories = (real: SnapshotDirectories): SnapshotDirectories => ({
      ...real,
      remove: () => new Promise(() => undefined),
    });
    const second = await open({ preallocatedDirectories: 0, directories });
    void second.deleteDirectories('9').catch(() => undefined);
    await until(
      'the request is recorded',
      async () => (await second.eventsOfType('DirectoriesReleased')).length === 1,
    );
    await crash();
    expect(await planned()).toEqual([{ kind: 'ReleasedDirectories', names: ['9'] }]);
    const third = await open({ preallocatedDirectories: 0 });
    expect(third.directories()).toEqual(['1']);
    expect(await third.eventsOfType('OrphanRemoved')).toHaveLength(1);
    expect(await planned()).toEqual([]);
  });

  it('is not deleted while a mount uses it, and is once that has ended', async () => {
    const first = await withUnowned();
    const elsewhere = `${root.layers}/elsewhere`;
    fs.mkdirSync(elsewhere);
    mount('--bind', at('9/fs'), elsewhere);
    expect(told(await first.deleteDirectories('9'))).toBe('ok');
    expect(fs.readFileSync(`${elsewhere}/data`, 'utf8')).toBe('x');
    expect(first.snapshotter.directoryProblems()).toEqual({ setAside: 0, failing: 1 });
    execFileSync('umount', [elsewhere]);
    await first.cleanup();
    expect(first.directories()).toEqual(['1']);
    expect(first.snapshotter.directoryProblems().failing).toBe(0);
  });

  it('is forgotten when it is gone, and so is what was preallocated', async () => {
    const first = await withUnowned();
    fs.rmSync(at('9'), { recursive: true });
    await first.cleanup();
    await first.cleanup();
    const released = await first.eventsOfType('DirectoriesReleased');
    expect(released.map(({ data }) => data)).toEqual([{ names: ['9'], because: 'gone' }]);
    await first.close();
    fs.mkdirSync(at('10/fs'), { recursive: true });
    fs.writeFileSync(at('10/fs/data'), 'x');
    await open({ preallocatedDirectories: 0 });
    await crash();
    fs.rmSync(at('10'), { recursive: true });
    const last = await open({ preallocatedDirectories: 0 });
    expect((await last.eventsOfType('DirectoriesReleased')).map(({ data }) => data)).toEqual([
      { names: ['9'], because: 'gone' },
      { names: ['10'], because: 'gone' },
    ]);
    expect(last.snapshotter.directoryProblems().setAside).toBe(0);
  });
});

it('a preallocated directory that came to hold something is kept at shutdown', async () => {
  const first = await open();
  valueOf(await first.prepare('first'));
  await poolFilled(first);
  fs.writeFileSync(at('3/fs/data'), 'x');
  await first.close();
  daemon = null;
  expect(fs.readdirSync(root.snapshots).sort()).toEqual(['1', '3']);
  const second = await open();
  expect(await setAside()).toEqual([
    { name: '3', because: 'preallocated', evidence: 'fs is not empty' },
  ]);
  expect(second.warnings).toEqual([SET_ASIDE]);
});

it('what cannot be looked at is neither deleted nor set aside, and is told with its errno', async () => {
  root.remove();
  const damaged = ext4Root();
  root = damaged;
  const first = await open();
  valueOf(await first.prepare('first'));
  await poolFilled(first);
  await crash();
  damaged.damage('snapshots/3/fs');
  expect(await planned()).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ kind: 'UncheckedDirectory', name: '3', code: 'EUCLEAN' }),
      { kind: 'PreallocatedDirectories', ids: [2, 4, 5] },
    ]),
  );
  const second = await open({ preallocatedDirectories: 0 });
  expect(second.directories()).toEqual(['1', '3']);
  expect(second.warnings).toEqual([
    'a directory that no snapshot owns could not be looked at or deleted',
  ]);
  expect(await setAside()).toEqual([]);
  expect(second.snapshotter.directoryProblems()).toEqual({ setAside: 0, failing: 1 });
  const [plan] = await second.eventsOfType('RecoveryPlanned');
  expect(plan?.data).toMatchObject({ findings: [{ kind: 'UncheckedDirectory' }] });
});
