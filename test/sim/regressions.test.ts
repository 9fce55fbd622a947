/**
 * Goal: what the simulation found stays found, whatever later seeds draw. Method: each case is
 * built by hand on the smallest world that shows it.
 */
import { expect, it } from 'vitest';
import { reasonOf } from '../../src/base/errors.js';
import { snapshotName, streamVersion } from '../../src/base/units.js';
import { Replay } from '../../src/inspect/archive/replay.js';
import { examineCheckpoint } from '../../src/log/checkpoint/checkpoint.js';
import { openLog } from '../../src/log/log.js';
import { readLog } from '../../src/log/reader.js';
import { encodeHead, encodeState, headOf } from '../../src/machines/snapshots/state-json.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { World } from '../support/world.js';
import { Random } from '../support/random.js';
import { SimHost } from './sim-host.js';

function open(disk: FaultyDisk) {
  return openLog({
    root: '/root',
    disk,
    clock: new VirtualClock(),
    uuid: () => '00000000-0000-4000-8000-000000000000',
    writtenBy: 'stratalog 0.0.0',
    segmentBytes: 4096,
    onCheckpoint: () => Promise.resolve(),
    onRecords: () => undefined,
    onWarning: () => undefined,
  });
}

it('acknowledges nothing in a segment whose name is not durable', async () => {
  const first = new FaultyDisk(['/root']);
  // Killed between the rename that names the segment and the sync of the directory.
  first.plan = (operation, path) =>
    operation === 'syncDirectory' && path === '/root/log'
      ? { kind: 'fail', code: 'EINTR' }
      : undefined;
  await expect(open(first)).rejects.toThrow('EINTR');
  const second = first.afterKill();
  expect(second.paths()).toContain('/root/log/00000000000000000000.seg');

  const { log } = await open(second);
  const event = {
    stream: 'daemon',
    expectedVersion: streamVersion(0),
    type: 'DaemonStopped',
    schemaVersion: 1,
    data: { why: 'acknowledged' },
  };
  await log.append([event], { sync: true }).durable;
  const left = second.powerCut(() => 0.99);

  const records = [];
  for await (const record of readLog({ root: '/root', disk: left })) records.push(record.data);
  expect(records).toEqual([{ why: 'acknowledged' }]);
});

it('starts from a checkpoint in which a removed snapshot and a new one bear one name', async () => {
  const world = new World();
  const prepare = (key: string, parent: string | null) => {
    const about = { key: snapshotName(key), parent: parent === null ? null : snapshotName(parent) };
    const given = { kind: 'active', labels: new Map(), caller: {} } as const;
    expect(world.execute({ command: 'Prepare', ...about, ...given }).ok).toBe(true);
    const id = world.forest.holderOf(about.key)?.id ?? null;
    world.execute({ command: 'DirectoriesReady' }, id);
    return id;
  };
  const commit = (key: string, name: string) =>
    world.execute({
      command: 'Commit',
      ...{ key: snapshotName(key), name: snapshotName(name), parent: null },
      ...{ labels: new Map(), caller: {} },
    });
  const done = {
    ...{ usage: { size: 0, inodes: 0 }, owner: { uid: 0, gid: 0 } },
    durability: 'data',
  } as const;
  const base = prepare('base key', null);
  commit('base key', 'base');
  world.execute({ command: 'DataReady', ...done }, base);
  prepare('key', 'base');
  const removing = { name: snapshotName('key'), deferred: false, caller: {} };
  world.execute({ command: 'Remove', ...removing });
  // The directory of the first is still being deleted; the second is being committed.
  const second = prepare('key', null);
  commit('key', 'layer');

  const states = [...world.forest.values()].toSorted((a, b) => a.id - b.id);
  const head = encodeHead(headOf(world.forest, 0));
  const lines = [head, ...states.map(encodeState)];
  const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
  const { forest } = await Replay.restore({ bytes, lines: lines.length });

  expect(forest.holderOf(snapshotName('key'))?.id).toBe(second);
  expect(forest.holderOf(snapshotName('layer'))?.id).toBe(second);
  expect(base === null ? null : forest.childrenOf(base)).toBe(0);
  expect(forest.size).toBe(states.length);
  expect([...forest.values()]).toEqual(states);
});

it('gives a checkpoint its name only when its bytes are durable', async () => {
  const disk = new FaultyDisk(['/root']);
  const { log } = await open(disk);
  await log.writeCheckpoint({ position: log.durablePosition, lines: ['{"a":1}'] });
  const left = disk.powerCut(() => 0.99);

  const named = { name: '00000000000000000000.checkpoint', position: 0 };
  const reading = await examineCheckpoint(left, '/root', named, log.identity.uuid);
  expect(reading.kind).toBe('valid');
});

it('leaves no rejection to nobody when the log fails under Cleanup', async () => {
  const host = calmHost(({ settings }) => settings.asynchronousRemove);
  host.start();
  await host.advance(60_000, () => host.state === 'serving');
  const snapshotter = host.opened?.snapshotter;
  if (snapshotter === undefined) throw new Error('the daemon does not serve');
  const unhandled: unknown[] = [];
  const listen = (reason: unknown) => void unhandled.push(reason);
  process.on('unhandledRejection', listen);
  const signal = new AbortController().signal;
  const tell = async (promise: Promise<unknown>): Promise<string> => {
    let told = 'no answer';
    void promise.then(
      () => (told = 'ok'),
      (thrown: unknown) => (told = reasonOf(thrown)),
    );
    await host.advance(60_000);
    return told;
  };
  const key = snapshotName('key');
  const request = { key, parent: null, labels: new Map(), caller: {} };
  expect(await tell(snapshotter.prepare(request, signal))).toBe('ok');
  expect(await tell(snapshotter.remove(key, {}))).toBe('ok');
  host.disk.plan = (operation) =>
    operation === 'sync' ? { kind: 'fail', code: 'EIO' } : undefined;
  expect(await tell(snapshotter.cleanup(signal))).toContain('EIO');
  process.off('unhandledRejection', listen);
  host.kill();
  expect(unhandled).toEqual([]);
});

/** A machine on which nothing fails by itself, with settings as wanted. */
function calmHost(isWanted: (host: SimHost) => boolean): SimHost {
  for (let seed = 0; ; seed += 1) {
    const host = new SimHost(new Random(`calm ${seed}`), () => undefined);
    host.weather.isCalm = true;
    if (isWanted(host)) return host;
  }
}
