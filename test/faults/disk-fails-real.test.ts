/**
 * Goal: a daemon whose disk is really full goes on answering, and Remove is the way out; a daemon
 * whose disk is really gone turns read-only, says so once, ends, and starts again with all that
 * it has acknowledged when the disk is back.
 * Method: the daemon as a process on a small ext4 or XFS of its own. The volume is filled to the
 * last byte, or shut down by the ioctl that is made for such tests (EXT4_IOC_SHUTDOWN,
 * XFS_IOC_GOINGDOWN), after which each write is EIO.
 */
import { existsSync, statfsSync, writeFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stratalog } from '../../scripts/rig/daemon.js';
import { until } from '../../scripts/rig/wait.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { type Answer, SnapshotsClient } from './client.js';
import { Volume, type VolumeKind } from './disk-fails-volume.js';
import { writableDirectory } from './oracle.js';

let workspace: Workspace;
let client: SnapshotsClient | null = null;
beforeEach(async () => {
  workspace = await Workspace.create('strata-full-');
});
afterEach(async () => {
  client?.close();
  client = null;
  await workspace.close();
});

async function started(volume: Volume): Promise<SnapshotsClient> {
  client?.close();
  await volume.daemon.start();
  client = new SnapshotsClient(volume.daemon.address);
  await client.connected();
  return client;
}

function valueOf<Value>(answer: Answer<Value>): Value {
  if (answer.kind === 'answered') return answer.value;
  throw new Error(answer.message);
}

/** Layers of a mebibyte each; returns their directories. Which number each has is the daemon's. */
async function layers(
  snapshots: SnapshotsClient,
  names: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const directories = new Map<string, string>();
  for (const name of names) {
    const mounts = valueOf(await snapshots.prepare(`${name} key`, '', new Map()));
    const contents = writableDirectory(mounts);
    if (contents === null) throw new Error(`not writable: ${mounts}`);
    writeFileSync(`${contents}/data`, Buffer.alloc(1024 * 1024, name));
    valueOf(await snapshots.commit(`${name} key`, name, new Map()));
    directories.set(name, contents);
  }
  return directories;
}

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

const namesOf = async (snapshots: SnapshotsClient): Promise<string[]> =>
  (await snapshots.list()).map(({ name }) => name).sort();

const healthOf = async (volume: Volume): Promise<number> =>
  (await stratalog('health', '--address', volume.daemon.address)).exitCode;

const longLabel = new Map([['long', ''.padEnd(4000, 'long')]]);

describe('a full disk', () => {
  it('refuses what grows, and lets Remove make room', async () => {
    const volume = await Volume.create(workspace, 'ext4');
    const snapshots = await started(volume);
    const directories = await layers(snapshots, ['one', 'two', 'three']);
    volume.fill();
    // Directories that were made ahead serve for a while.
    let answer: Answer<unknown> = { kind: 'unanswered', message: 'nothing was asked' };
    for (let tries = 0; tries < 400; tries += 1) {
      answer = await snapshots.prepare(`key-${tries}`, '', longLabel);
      if (answer.kind !== 'answered') break;
    }
    expect(answer).toMatchObject({ kind: 'refused', code: status.RESOURCE_EXHAUSTED });
    expect(await healthOf(volume)).toBe(0);
    valueOf(await snapshots.remove('two'));
    const gone = () => !existsSync(directories.get('two') ?? '');
    await until('the directory of the layer is gone', gone);
    expect(volume.messages('fatal')).toEqual([]);
    await layers(snapshots, ['four']);
    expect(await healthOf(volume)).toBe(0);
  });

  it('keeps room in the log for Remove, however much else is asked for, and over a crash', async () => {
    const volume = await Volume.create(workspace, 'ext4');
    let snapshots = await started(volume);
    await layers(snapshots, ['one', 'two', 'three', 'four']);
    volume.fill();
    const refusal = await askUntilRefused(() => snapshots.update('one', longLabel, ['labels']));
    expect(refusal).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    expect(refusal.message).toMatch(/removals only.*next\.prepared: ENOSPC.*make room/);
    const changes = [
      () => snapshots.prepare('later', 'one', new Map()),
      () => snapshots.view('later', 'one', new Map()),
      () => snapshots.update('two', longLabel, ['labels']),
    ];
    for (let times = 0; times < 20; times += 1) {
      for (const change of changes) expect(await change()).toMatchObject({ code: refusal.code });
    }
    expect(await healthOf(volume)).toBe(0);
    await volume.daemon.crash();
    snapshots = await started(volume);
    expect(await namesOf(snapshots)).toEqual(['four', 'one', 'three', 'two']);
    await askUntilRefused(() => snapshots.update('one', longLabel, ['labels']));
    for (const name of ['two', 'three', 'four']) valueOf(await snapshots.remove(name));
    await until('there is room again', async () => {
      const answer = await snapshots.update('one', longLabel, ['labels']);
      return answer.kind === 'answered';
    });
    // The log had its room from the first directory that went; the others go behind the answers.
    await until(
      'the removed layers are off the disk',
      () => freeBytes(volume.root) > 1.5 * 1024 * 1024,
    );
    await layers(snapshots, ['five']);
    expect(await healthOf(volume)).toBe(0);
    expect(volume.messages('fatal')).toEqual([]);
    const unprepared = 'the next segment of the log could not be prepared';
    expect(volume.messages('warning').map(({ msg }) => msg)).toEqual([
      unprepared,
      'cannot probe kernel features because the root is full; using those recorded at the last startup',
      unprepared,
    ]);
  });
});

/** Asks again and again. A refusal must come before the log itself has failed. */
async function askUntilRefused(ask: () => Promise<Answer<unknown>>) {
  for (let tries = 0; tries < 1000; tries += 1) {
    const answer = await ask();
    if (answer.kind === 'refused') return answer;
    if (answer.kind === 'unanswered') throw new Error(answer.message);
  }
  throw new Error('nothing was refused');
}

/** What happens to the disk, and what a write says then. */
const ends: readonly (readonly [string, VolumeKind, (volume: Volume) => Promise<void>, string])[] =
  [
    ['ext4 that is gone', 'ext4', (volume) => volume.shutDown(), 'EIO'],
    ['ext4 that turned read-only', 'ext4', (volume) => volume.turnReadOnly(), 'EROFS'],
    ['xfs that is gone', 'xfs', (volume) => volume.shutDown(), 'EIO'],
  ];

describe.each(ends)('%s', (_name, kind, end, code) => {
  it('makes the daemon read-only, then ends it, and loses nothing', async () => {
    const volume = await Volume.create(workspace, kind);
    let snapshots = await started(volume);
    await layers(snapshots, ['one', 'two']);
    valueOf(await snapshots.prepare('kept', 'two', new Map()));
    await end(volume);
    const answers = await Promise.all([
      snapshots.prepare('later', 'one', new Map()),
      snapshots.update('one', longLabel, ['labels']),
      snapshots.remove('two'),
      snapshots.commit('kept', 'three', new Map()),
    ]);
    answers.push(await snapshots.view('later still', 'one', new Map()));
    for (const answer of answers) {
      const { message } = answer.kind === 'answered' ? { message: 'answered' } : answer;
      expect(message).toMatch(/UNAVAILABLE.*log cannot be written.*\.seg: \w+|1 other.* on it/);
    }
    expect(await namesOf(snapshots)).toEqual(['kept', 'one', 'two']);
    valueOf(await snapshots.stat('one'));
    valueOf(await snapshots.mounts('kept'));
    valueOf(await snapshots.usage('one'));
    expect(await healthOf(volume)).toBe(1);
    const fatal = volume.messages('fatal');
    expect(fatal).toHaveLength(1);
    // What failed, where, what will be, and what to do.
    expect(fatal[0]).toMatchObject({ msg: 'cannot write to the log; read-only from now on' });
    expect(String(fatal[0]?.['error'])).toMatch(/write .*volume-root\/log\/\d+\.seg: \w+/);
    expect(fatal[0]?.['error']).toContain(code);
    expect(fatal[0]?.['advice']).toEqual(expect.any(String));
    await until('the daemon has ended by itself', () => !volume.daemon.isRunning);
    expect((await volume.daemon.stop()).exitCode).toBe(1);

    await volume.unmount();
    await volume.mount();
    snapshots = await started(volume);
    // What was never acknowledged may be there all the same, but nothing else.
    const kept = await namesOf(snapshots);
    const held = kept.includes('three') ? 'three' : 'kept';
    expect(kept.filter((name) => !name.startsWith('later'))).toEqual(['one', 'two', held].sort());
    expect((await stratalog('verify', '--root', volume.root)).exitCode).toBe(0);
    await layers(snapshots, ['four']);
  });
});
