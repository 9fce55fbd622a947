/**
 * Goal: what List sends of packed snapshots is what the generated encoder would send. Method: states
 * with all sorts of names, labels and times are packed as a checkpoint holds them; the bytes are
 * decoded with the generated decoder and compared with the state's own info.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  Info,
  ListSnapshotsResponse,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { serializeList } from '../../src/api/snapshots/list-wire.js';
import { PackedWireInfo, toInfo } from '../../src/api/snapshots/wire.js';
import { snapshotId, snapshotName, streamVersion, unixNanos } from '../../src/base/units.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import { infoOf } from '../../src/machines/snapshots/info.js';
import { PackedInfo } from '../../src/machines/snapshots/packed-info.js';
import { encodeState } from '../../src/machines/snapshots/state-json.js';

const names = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 300 })
  .map((text) => snapshotName(text));
const times = fc
  .oneof(fc.bigInt(-(2n ** 62n), 2n ** 62n), fc.constantFrom(0n, 1n, 10n ** 9n, 17n * 10n ** 17n))
  .map((nanos) => unixNanos(nanos));
const labels = fc
  .dictionary(
    fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('__proto__', 'containerd.io/snapshot.ref'),
    ),
    fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ minLength: 100, maxLength: 5000 })),
    { maxKeys: 12 },
  )
  .map((record) => new Map(Object.entries(record)));

const states = fc
  .record({
    status: fc.constantFrom('active' as const, 'view' as const, 'committed.available' as const),
    name: names,
    parent: fc.option(names),
    labels,
    createdAt: times,
    updatedAt: times,
    remote: fc.option(fc.constant({ ref: 'r', fileSystem: 'f', mountLabels: new Map() })),
  })
  .map(({ parent, remote, ...state }): SnapshotState => ({
    ...state,
    id: snapshotId(7),
    preparedAs: 'active',
    parent: parent === null ? null : { id: snapshotId(3), name: parent },
    maker: null,
    question: null,
    idMapping: null,
    remote: state.status === 'committed.available' ? remote : null,
    commit: null,
    usage: { size: 1, inodes: 2 },
    owner: { uid: 0, gid: 0 },
    isChownedCopy: false,
    unavailability: null,
    removal: null,
    streamVersion: streamVersion(3),
  }));

const packed = (state: SnapshotState) => toInfo(new PackedInfo(Buffer.from(encodeState(state))));

it('says of packed snapshots what the generated encoder would say', () => {
  fc.assert(
    fc.property(fc.array(states, { maxLength: 8 }), (many) => {
      const infos = many.map(packed);
      const read = ListSnapshotsResponse.decode(serializeList({ info: infos }));
      const plain = many.map((state) => toInfo(infoOf(state)));
      expect(read.info).toEqual(plain);
      expect(infos.map((info) => Info.decode(Info.encode(info).finish()))).toEqual(plain);
    }),
    { numRuns: 300 },
  );
});

it('sends others between packed ones in their order', () => {
  const state = (name: string): SnapshotState => ({
    ...(fc.sample(states, { numRuns: 1, seed: 1 })[0] as SnapshotState),
    remote: null,
    name: snapshotName(name),
  });
  const infos = [
    packed(state('a')),
    toInfo(infoOf(state('b'))),
    packed(state('with a \\ in it')),
    packed(state('c')),
  ];
  expect(infos[0]).toBeInstanceOf(PackedWireInfo);
  const read = ListSnapshotsResponse.decode(serializeList({ info: infos }));
  expect(read.info.map(({ name }) => name)).toEqual(['a', 'b', 'with a \\ in it', 'c']);
});
