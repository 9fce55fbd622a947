/**
 * Goal: a container in a user namespace sees the content of every layer, with the owners that its
 * maps give, and never through the maps twice. Method: the snapshotter on the real host; the mounts
 * that it answers are mounted as containerd mounts them, and looked into.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { told, upperOf, valueOf } from '../support/daemon.js';
import { lowersOf, MappedRig, maps, MAPS } from './mapped-rig.js';

const OTHER_REF = 'sha256:bb';
const OTHER_MAPS = maps('0:200000:65536');
const REF = 'sha256:aa';

let rig: MappedRig;

beforeEach(async () => {
  rig = await MappedRig.start();
});

afterEach(async () => {
  expect(rig.daemon.fatal).toEqual([]);
  await rig.close();
});

describe('a container with mapped ids', () => {
  it('sees every layer of a mixed chain, and nothing that was deleted, with its own owners', async () => {
    await rig.ordinary('base');
    fs.writeFileSync(`${rig.daemon.fs(1)}/gone`, 'deleted above');
    await rig.remote(REF, 'base', 'gone');
    await rig.ordinary('top', REF);
    const plain = rig.files(valueOf(await rig.daemon.prepare('plain', 'top')));
    const mounts = valueOf(await rig.daemon.prepare('mapped', 'top', MAPS));
    const shown = rig.files(mounts);
    expect(Object.keys(shown)).toEqual(Object.keys(plain));
    expect(shown).toEqual({
      ...{ base: 100_000, from: 100_000, top: 100_000 },
      ...{ home: 100_000, 'home/base': 101_000, 'home/top': 101_000 },
    });
    expect(mounts[0]?.options.join()).not.toMatch(/[ug]idmap=/);
    const upper = upperOf(mounts);
    expect([fs.statSync(upper).uid, fs.statSync(upper).gid]).toEqual([100_000, 100_000]);
  });

  it('may have several ranges, and one map alone', async () => {
    await rig.ordinary('base');
    const ranges = maps('0:100000:1000,1000:300000:10');
    expect(rig.files(valueOf(await rig.daemon.prepare('a', 'base', ranges)))).toMatchObject({
      ...{ base: 100_000, 'home/base': 300_000 },
    });
    const onlyUsers = new Map([[UID_MAPPING_LABEL, '0:100000:65536']]);
    const mounts = valueOf(await rig.daemon.prepare('b', 'base', onlyUsers));
    rig.mounted(mounts, (path) => {
      const { uid, gid } = fs.statSync(`${path}/home/base`);
      expect([uid, gid]).toEqual([101_000, 1000]);
    });
  });

  it('shares the mounts with others of the same maps, and with no other', async () => {
    await rig.remote(REF);
    await rig.remote(OTHER_REF, REF);
    const first = lowersOf(valueOf(await rig.daemon.prepare('a', OTHER_REF, MAPS)));
    const before = rig.idmapped();
    expect(before).toHaveLength(2);
    expect(lowersOf(valueOf(await rig.daemon.prepare('b', OTHER_REF, MAPS)))).toEqual(first);
    expect(rig.idmapped()).toEqual(before);
    const others = lowersOf(valueOf(await rig.daemon.prepare('c', OTHER_REF, OTHER_MAPS)));
    expect(others.filter((lower) => first.includes(lower))).toEqual([]);
    expect(rig.idmapped()).toHaveLength(4);
  });

  it('is one of many that begin and end at the same time', async () => {
    await rig.ordinary('base');
    await rig.remote(REF, 'base');
    for (let round = 0; round < 4; round += 1) {
      const keys = Array.from({ length: 6 }, (_, index) => `${round} ${index}`);
      const prepared = await Promise.all(keys.map((key) => rig.daemon.prepare(key, REF, MAPS)));
      // Those of the round before go while these come.
      const answers = await Promise.all([
        ...keys.map((key) => rig.daemon.mounts(key)),
        ...(round === 0
          ? []
          : keys.map((key) => rig.daemon.remove(key.replace(/^\d/, String(round - 1))))),
      ]);
      for (const mounts of [...prepared, ...answers.slice(0, keys.length)]) {
        expect(rig.files(valueOf(mounts as (typeof prepared)[number]))).toMatchObject({
          ...{ base: 100_000, from: 100_000 },
        });
      }
    }
  });

  it('has 128 layers within the page of options that a mount takes', async () => {
    let parent: string | null = null;
    for (let index = 0; index < 127; index += 1) {
      const key = `k${index}`;
      const upper = upperOf(valueOf(await rig.daemon.prepare(key, parent)));
      fs.writeFileSync(`${upper}/f${index}`, '');
      valueOf(await rig.daemon.commit(key, `l${index}`));
      parent = `l${index}`;
    }
    await rig.remote(REF, parent);
    const [mount] = valueOf(await rig.daemon.prepare('mapped', REF, MAPS));
    if (mount === undefined) throw new Error('no mounts');
    expect(lowersOf([mount])).toHaveLength(128);
    // As containerd does: mounted from the directory that all have in common.
    const common = rig.idmapped()[0]?.replace(/\/[^/]+$/, '') ?? '';
    const options = mount.options.map((option) => option.replaceAll(`${common}/`, ''));
    const look = (path: string) => {
      const names = fs.readdirSync(path);
      return { names, owners: names.map((name) => fs.statSync(`${path}/${name}`).uid) };
    };
    const { names, owners } = rig.mounted([{ ...mount, options }], look, common);
    expect(names).toHaveLength(127 + 1);
    expect(new Set(owners)).toEqual(new Set([100_000]));
  });
});

describe('a view with mapped ids', () => {
  it.each([
    ['an ordinary layer', () => rig.ordinary('base').then(() => 'base'), { base: 100_000 }],
    ['a remote layer', () => rig.remote(REF).then(() => REF), { from: 100_000 }],
    [
      'two layers',
      async () => {
        await rig.ordinary('base');
        await rig.remote(REF, 'base');
        return REF;
      },
      { base: 100_000, from: 100_000 },
    ],
  ])('shows %s', async (_what, make, expected) => {
    const parent = await make();
    expect(rig.files(valueOf(await rig.daemon.view('v', parent, MAPS)))).toMatchObject(expected);
  });
});

describe('a snapshot that needs no mapping of ours', () => {
  it('has no parent: its own directory belongs to the mapped root', async () => {
    const [mount] = valueOf(await rig.daemon.prepare('a', null, MAPS));
    expect(mount).toEqual({ type: 'bind', source: rig.daemon.fs(1), options: ['rw', 'rbind'] });
    expect(fs.statSync(rig.daemon.fs(1)).uid).toBe(100_000);
    expect(rig.idmapped()).toEqual([]);
  });

  it('is on a copy that the client has chowned', async () => {
    await rig.ordinary('base');
    const upper = upperOf(valueOf(await rig.daemon.prepare('d/2/copy-remap', 'base')));
    fs.chownSync(upper, 100_000, 100_000);
    fs.writeFileSync(`${upper}/base`, 'copied up');
    fs.chownSync(`${upper}/base`, 100_000, 100_000);
    valueOf(await rig.daemon.commit('d/2/copy-remap', 'd/3/copy'));
    const mounts = valueOf(await rig.daemon.prepare('d/4/web', 'd/3/copy', MAPS));
    expect(lowersOf(mounts)).toEqual([rig.daemon.fs(2), rig.daemon.fs(1)]);
    expect(rig.files(mounts)['base']).toBe(100_000);
    expect(fs.statSync(upperOf(mounts)).uid).toBe(100_000);
    expect(rig.idmapped()).toEqual([]);
    const [preparing] = (await rig.daemon.eventsOfType('SnapshotPreparing')).slice(-1);
    expect(preparing?.data['idMapping']).toMatchObject({ appliedBy: 'client' });
  });

  it('is on what another one with the same maps has written', async () => {
    await rig.ordinary('base');
    const upper = upperOf(valueOf(await rig.daemon.prepare('a', 'base', MAPS)));
    fs.writeFileSync(`${upper}/written`, '');
    fs.chownSync(`${upper}/written`, 101_000, 100_000);
    valueOf(await rig.daemon.commit('a', 'A'));
    expect(rig.files(valueOf(await rig.daemon.prepare('b', 'A', MAPS)))).toMatchObject({
      ...{ base: 100_000, written: 101_000 },
    });
    expect(told(await rig.daemon.prepare('c', 'A', OTHER_MAPS))).toBe(
      'FailedPrecondition MappedOtherwise',
    );
  });

  it('keeps what was decided, whatever is made of its labels', async () => {
    await rig.ordinary('base');
    const mounts = valueOf(await rig.daemon.prepare('a', 'base', MAPS));
    await rig.daemon.update('a', OTHER_MAPS);
    expect(valueOf(await rig.daemon.mounts('a'))).toEqual(mounts);
    await rig.daemon.update('a', new Map());
    expect(valueOf(await rig.daemon.mounts('a'))).toEqual(mounts);
  });
});
