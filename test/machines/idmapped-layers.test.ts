/**
 * Who maps the ids of a snapshot that was requested for a user namespace, and which of its layers
 * are then mounted with mapped ids: every kind of parent there is, in one table.
 */
import { describe, expect, it } from 'vitest';
import { snapshotId, snapshotName, type Labels } from '../../src/base/units.js';
import type { CommandOf } from '../../src/machines/commands.js';
import type { SnapshotEventData } from '../../src/machines/events/events.js';
import { lowerSource } from '../../src/machines/idmapped-layers.js';
import { GID_MAPPING_LABEL, TARGET_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { World } from '../support/world.js';

const REF = 'sha256:aaaa';
const ROOT = { uid: 0, gid: 0 };
const SHIFTED = { uid: 100_000, gid: 100_000 };
const usage = { size: 4096, inodes: 1 };

const maps = (range: string, gids = range): Labels =>
  new Map([
    [UID_MAPPING_LABEL, range],
    [GID_MAPPING_LABEL, gids],
  ]);
const MAPS = maps('0:100000:65536');
const OTHER = maps('0:200000:65536');
/** The host's root stays root; everything else is shifted. */
const KEEPS_ROOT = maps('0:0:1,1:100000:65535');

type Mapping = SnapshotEventData<'SnapshotPreparing'>['idMapping'];

class Given extends World {
  /** An ordinary layer, prepared under the key and with the owner as measured by the commit. */
  layer(name: string, parent: string | null, how: Partial<LayerGiven> = {}): this {
    const { key = `${name} key`, labels = new Map(), owner = ROOT } = how;
    const id = this.#begin(key, parent, labels);
    this.#must({
      ...{ command: 'Commit', key: snapshotName(key), name: snapshotName(name), parent: null },
      ...{ labels: new Map(), caller: {} },
    });
    this.#must({ command: 'DataReady', usage, owner, durability: 'data' }, id);
    return this;
  }

  remote(parent: string | null, owner = ROOT): this {
    const id = this.#begin('remote key', parent, new Map([[TARGET_LABEL, REF]]));
    this.#must({ command: 'RemoteReady', fileSystem: 'fs', usage, owner }, id);
    return this;
  }

  prepare(parent: string | null, labels: Labels, how: Partial<CommandOf<'Prepare'>> = {}) {
    return this.execute({
      ...{ command: 'Prepare', kind: 'active', key: snapshotName('c'), caller: {} },
      ...{ parent: parent === null ? null : snapshotName(parent), labels, ...how },
    });
  }

  /** The answer in a word: who maps, nobody, or the refusal. */
  answer(parent: string | null, labels: Labels, how: Partial<CommandOf<'Prepare'>> = {}): string {
    const decision = this.prepare(parent, labels, how);
    if (!decision.ok) return decision.refusal.name;
    const [first] = decision.value;
    if (first?.type !== 'SnapshotPreparing') throw new Error(`it began with ${first?.type}`);
    return first.data.idMapping?.appliedBy ?? 'nobody';
  }

  /** What the last snapshot does once its directories are made. */
  next(): string {
    const id = snapshotId(this.forest.nextId - 1);
    const decision = this.execute({ command: 'DirectoriesReady' }, id);
    return decision.ok ? decision.value.map(({ type }) => type).join() : decision.refusal.name;
  }

  #begin(key: string, parent: string | null, labels: Labels): ReturnType<typeof snapshotId> {
    this.#must({
      ...{ command: 'Prepare', kind: 'active', key: snapshotName(key), caller: {}, labels },
      ...{ parent: parent === null ? null : snapshotName(parent), fileSystems: ['fs'] },
    });
    const id = snapshotId(this.forest.nextId - 1);
    this.#must({ command: 'DirectoriesReady' }, id);
    if (this.forest.get(id)?.status === 'mappingIds') this.#must({ command: 'IdsMapped' }, id);
    return id;
  }

  #must(...[command, about]: Parameters<World['execute']>): void {
    const decision = this.execute(command, about ?? null);
    if (!decision.ok) throw new Error(decision.refusal.message);
  }
}

interface LayerGiven {
  readonly key: string;
  readonly labels: Labels;
  readonly owner: { readonly uid: number; readonly gid: number };
}

const given = () => new Given();

describe('ids of a user namespace are mapped by', () => {
  it.each<[string, Given, string | null, Labels, string]>([
    ['nobody without labels', given().layer('p', null), 'p', new Map(), 'nobody'],
    [
      'nobody when they stay the same',
      given().layer('p', null),
      'p',
      maps('0:0:65536', '0:0:10'),
      'nobody',
    ],
    ['the snapshotter on an ordinary layer', given().layer('p', null), 'p', MAPS, 'snapshotter'],
    ['the snapshotter on a remote one', given().remote(null), REF, MAPS, 'snapshotter'],
    ['the snapshotter on nothing', given(), null, MAPS, 'snapshotter'],
    [
      'the snapshotter when one of the two maps is given',
      given().layer('p', null),
      'p',
      new Map([[UID_MAPPING_LABEL, '0:100000:65536']]),
      'snapshotter',
    ],
    [
      'the client when the layer belongs to the mapped root',
      given().layer('p', null, { owner: SHIFTED }),
      'p',
      MAPS,
      'client',
    ],
    [
      'the client when only the user is mapped, and mapped already',
      given().layer('p', null, { owner: { uid: 100_000, gid: 0 } }),
      'p',
      new Map([[UID_MAPPING_LABEL, '0:100000:65536']]),
      'client',
    ],
    [
      'the snapshotter when the layer belongs to another root',
      given().layer('p', null, { owner: SHIFTED }),
      'p',
      OTHER,
      'snapshotter',
    ],
    [
      'the snapshotter when only the group is the mapped one',
      given().layer('p', null, { owner: { uid: 0, gid: 100_000 } }),
      'p',
      MAPS,
      'snapshotter',
    ],
    [
      'the client on a chowned copy whose root stays root',
      given().layer('base', null).layer('d/9/copy', 'base', { key: 'd/8/copy-remap' }),
      'd/9/copy',
      KEEPS_ROOT,
      'client',
    ],
    [
      'the snapshotter where root stays root, and nothing is shifted yet',
      given().layer('base', null),
      'base',
      KEEPS_ROOT,
      'snapshotter',
    ],
    [
      'the client above what was written on a chowned copy',
      given().layer('copy', null, { key: 'copy-remap' }).layer('p', 'copy', { labels: KEEPS_ROOT }),
      'p',
      KEEPS_ROOT,
      'client',
    ],
    [
      'the snapshotter above what was written through the same maps',
      given().layer('base', null).layer('p', 'base', { labels: MAPS, owner: SHIFTED }),
      'p',
      MAPS,
      'snapshotter',
    ],
    [
      'none of them above what was written through other maps',
      given().layer('base', null).layer('p', 'base', { labels: MAPS, owner: SHIFTED }),
      'p',
      OTHER,
      'MappedOtherwise',
    ],
    [
      'none of them when such a layer is further down',
      given()
        .layer('base', null)
        .layer('p', 'base', { labels: MAPS, owner: SHIFTED })
        .layer('q', 'p', { owner: ROOT }),
      'q',
      OTHER,
      'MappedOtherwise',
    ],
  ])('%s', (_what, world, parent, labels, expected) => {
    expect(world.answer(parent, labels)).toBe(expected);
  });

  it('nobody under a key that is made for unpacking', () => {
    const key = snapshotName('default/3/extract-1-abcd sha256:ab');
    expect(given().layer('p', null).answer('p', MAPS, { key })).toBe('nobody');
  });

  it('the snapshotter for a view', () => {
    expect(given().layer('p', null).answer('p', MAPS, { kind: 'view' })).toBe('snapshotter');
  });
});

describe('a host that cannot map ids', () => {
  const whyNoIdMapping = 'the kernel is too old';

  it('refuses, and says why and what to do', () => {
    const refused = given().layer('p', null).prepare('p', MAPS, { whyNoIdMapping });
    if (refused.ok) throw new Error('it was served');
    expect(refused.refusal.name).toBe('IdsNotMappable');
    expect(refused.refusal.message).toContain(whyNoIdMapping);
    expect(refused.refusal.message).toMatch(/remap-ids.*: failed precondition$/);
  });

  it.each<[string, Given, string | null, Labels]>([
    ['requests no maps', given().layer('p', null), 'p', new Map()],
    ['has no layers', given(), null, MAPS],
    [
      'has layers that the client has shifted',
      given().layer('p', null, { owner: SHIFTED }),
      'p',
      MAPS,
    ],
  ])('serves what %s', (_what, world, parent, labels) => {
    expect(world.answer(parent, labels, { whyNoIdMapping })).not.toBe('IdsNotMappable');
  });
});

describe('once its directories are made, a snapshot', () => {
  it('has its layers mounted first', () => {
    const world = given().layer('p', null);
    world.answer('p', MAPS);
    expect(world.next()).toBe('IdMappingStarted');
  });

  it.each<[string, Given, string | null]>([
    [
      'is ready when the client has shifted them',
      given().layer('p', null, { owner: SHIFTED }),
      'p',
    ],
    ['is ready when it has none', given(), null],
    [
      'is ready when all were written through these maps',
      given().layer('p', null, { labels: MAPS }),
      'p',
    ],
  ])('%s', (_what, world, parent) => {
    world.answer(parent, MAPS);
    expect(world.next()).toBe('SnapshotPrepared');
  });

  it('asks for no remote layer: what has a user namespace is a container', () => {
    const world = given().layer('p', null);
    world.answer('p', new Map([...MAPS, [TARGET_LABEL, REF]]));
    expect(world.forest.holderOf(snapshotName('c'))?.question).toBeNull();
    const unpacked = snapshotName('d/4/extract-1-abcd sha256:aa');
    world.answer('p', new Map([...MAPS, [TARGET_LABEL, REF]]), { key: unpacked });
    expect(world.forest.holderOf(unpacked)?.question?.ref).toBe(REF);
  });
});

describe('a layer below it is shown', () => {
  const mapping = (appliedBy: 'client' | 'snapshotter'): Mapping => ({
    ...{ uids: '0:100000:65536', gids: '0:100000:65536', appliedBy },
  });
  const world = given()
    .layer('ordinary', null)
    .remote('ordinary')
    .layer('written', REF, { labels: MAPS });
  const layerNamed = (name: string) => {
    const state = world.forest.shown(snapshotName(name));
    if (state === undefined) throw new Error(`no layer ${name}`);
    return state;
  };

  it.each([
    ['ordinary', mapping('snapshotter'), 'directory'],
    [REF, mapping('snapshotter'), 'mount'],
    ['written', mapping('snapshotter'), 'plain'],
    ['ordinary', mapping('client'), 'plain'],
    [REF, mapping('client'), 'plain'],
    [REF, null, 'plain'],
  ])('%s with %o: %s', (name, how, expected) => {
    expect(lowerSource(layerNamed(name), how)).toBe(expected);
  });
});
