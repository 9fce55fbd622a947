/** Random events and commands for property tests: legal ones, impossible ones, hostile ones. */
import fc from 'fast-check';
import { snapshotId, snapshotName, type Labels, type SnapshotName } from '../../src/base/units.js';
import type { Command } from '../../src/machines/commands.js';
import { FAULT_KINDS, type Caller, type SnapshotEvent } from '../../src/machines/events/events.js';
import {
  GID_MAPPING_LABEL,
  PARENT_CHAIN_LABEL,
  REMOTE_LABEL,
  TARGET_LABEL,
  UID_MAPPING_LABEL,
} from '../../src/machines/labels.js';

/** Text that strangers send: separators, prototypes, controls, half a surrogate pair. */
export const hostileText: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 24 }) },
  fc.constantFrom(
    '',
    '__proto__',
    'constructor',
    'toString',
    '../../etc',
    'a b',
    'k8s.io/7/sha256:ab',
    '\u0000',
    '\ud800',
    'x: not modified',
    'ü'.repeat(3000),
  ),
);

const labelKey = fc.oneof(
  hostileText,
  fc.constantFrom(
    TARGET_LABEL,
    REMOTE_LABEL,
    UID_MAPPING_LABEL,
    GID_MAPPING_LABEL,
    PARENT_CHAIN_LABEL,
  ),
);

const labels: fc.Arbitrary<Labels> = fc
  .array(fc.tuple(labelKey, fc.oneof(hostileText, fc.constantFrom('0:1000:65536', 'sha256:a'))), {
    maxLength: 4,
  })
  .map((entries): Labels => new Map(entries));

/** Labels that no rule refuses, so that a walk gets far. */
export const plainLabels: fc.Arbitrary<Labels> = fc.constantFrom<Labels>(
  new Map(),
  new Map([[TARGET_LABEL, 'sha256:a']]),
  new Map([[UID_MAPPING_LABEL, '0:1000:65536']]),
  new Map([['__proto__', 'x']]),
);

const caller: fc.Arbitrary<Caller> = fc.oneof(
  fc.constant<Caller>({}),
  fc.record({ namespace: fc.string({ maxLength: 8 }), pid: fc.nat(), uid: fc.nat() }),
  fc.record({
    pid: fc.nat({ max: 3 }),
    startedAt: fc.constantFrom('5f0c1f6e-1', '5f0c1f6e-2'),
    program: fc.string({ maxLength: 8 }),
  }),
);

const reason = fc.string({ maxLength: 12 });
const usage = fc.record({ size: fc.nat(), inodes: fc.nat() });
const owner = fc.oneof(
  fc.constant({ uid: 0, gid: 0 }),
  fc.record({ uid: fc.nat(), gid: fc.nat() }),
);
const idMapping = fc.record({
  uids: fc.constantFrom('0:0:4294967295', '0:1000:65536'),
  gids: fc.constantFrom('0:1000:65536', '0:1000:10,10:5000:90'),
  appliedBy: fc.constantFrom('client' as const, 'snapshotter' as const),
});
const storedName = fc.string({ minLength: 1, maxLength: 12 }).map(snapshotName);
const parent = fc.option(
  fc.record({ id: fc.integer({ min: 1, max: 99 }).map(snapshotId), name: storedName }),
);
const remote = fc.record({ ref: fc.string(), fileSystem: fc.string() });

/** Any event about one snapshot, whether or not it can happen to it now. */
const fault = fc.record(
  { kind: fc.constantFrom(...FAULT_KINDS), errno: fc.constantFrom('ENOSPC', 'EIO') },
  { requiredKeys: ['kind'] },
);

const remoteQuestion = fc.oneof(
  fc.record({ ref: fc.string(), fileSystems: fc.array(fc.string(), { maxLength: 2 }) }),
  fc.record({ ref: fc.string(), declined: reason }),
);

export function eventOf(id: number): fc.Arbitrary<SnapshotEvent> {
  const of = <Type extends SnapshotEvent['type']>(
    type: Type,
    data: fc.Arbitrary<Extract<SnapshotEvent, { type: Type }>['data']>,
  ) => data.map((value) => ({ type, data: value }) as SnapshotEvent);
  return fc.oneof(
    of(
      'SnapshotPreparing',
      fc.record({
        id: fc.constant(snapshotId(id)),
        kind: fc.constantFrom('active' as const, 'view' as const),
        key: storedName,
        parent,
        labels,
        remote: fc.option(remoteQuestion),
        idMapping: fc.option(idMapping),
        caller,
      }),
    ),
    of('IdMappingStarted', fc.constant({})),
    of('SnapshotPrepared', fc.constant({})),
    of('RemoteMountStarted', fc.constant({})),
    of('RemoteMounted', fc.record({ fileSystem: fc.string() })),
    of('RemoteMountFailed', fc.record({ reason })),
    of('SnapshotCommitting', fc.record({ name: storedName, labels, parent, caller })),
    of('SnapshotCommitFailed', fc.record({ reason, fault: fc.option(fault) })),
    of(
      'SnapshotCommitted',
      fc.record({
        name: storedName,
        labels,
        usage,
        owner,
        parent,
        remote: fc.option(remote),
        durability: fc.constantFrom('data' as const, 'metadata' as const),
      }),
    ),
    of('LabelsUpdated', fc.record({ labels, caller })),
    of(
      'LayerUnavailable',
      fc.record({ reason, attempts: fc.nat(), retryAt: fc.option(fc.string()) }),
    ),
    of(
      'LayerAvailable',
      fc.record({
        how: fc.constantFrom('mounted' as const, 'checked' as const),
      }),
    ),
    of('SnapshotRemoving', fc.record({ deferred: fc.boolean(), caller })),
    of('SnapshotCollecting', fc.constant({})),
    of('SnapshotRemoved', fc.constant({})),
    of('SnapshotAbandoned', fc.record({ reason, fault: fc.option(fault), inferred: fc.boolean() })),
    of('SnapshotRemovalFailed', fc.record({ path: fc.string(), code: fc.string(), reason })),
    of(
      'SnapshotSalvaged',
      fc.record({
        ...{ id: fc.constant(snapshotId(id)), name: storedName, labels, usage, owner, reason },
        looked: fc.constantFrom('committed' as const, 'active' as const, 'empty' as const),
      }),
    ),
  );
}

/** Commands of clients about names from the given set, and outcomes of effects. */
export function commandAbout(
  names: fc.Arbitrary<SnapshotName>,
  given: fc.Arbitrary<Labels> = labels,
): fc.Arbitrary<Command> {
  const is = <Name extends Command['command']>(command: Name) => fc.constant(command);
  const prepare = fc.record({
    command: is('Prepare'),
    kind: fc.constantFrom('active' as const, 'view' as const),
    key: names,
    parent: fc.option(names),
    labels: given,
    caller,
    fileSystems: fc.array(fc.string(), { maxLength: 2 }),
    declined: fc.option(reason),
  });
  const commit = fc.record({
    command: is('Commit'),
    key: names,
    name: names,
    parent: fc.option(names, { freq: 1 }),
    labels: given,
    caller,
  });
  return fc.oneof(
    { weight: 6, arbitrary: prepare },
    { weight: 5, arbitrary: commit },
    {
      weight: 4,
      arbitrary: fc.record({ command: is('Remove'), name: names, deferred: fc.boolean(), caller }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        command: is('UpdateLabels'),
        name: names,
        labels: given,
        paths: fc.array(fc.oneof(hostileText, fc.constantFrom('labels', 'labels.a')), {
          maxLength: 3,
        }),
        caller,
      }),
    },
    { weight: 8, arbitrary: fc.record({ command: is('DirectoriesReady') }) },
    fc.record({ command: is('DirectoriesFailed'), reason, fault }),
    { weight: 2, arbitrary: fc.record({ command: is('IdsMapped') }) },
    {
      weight: 4,
      arbitrary: fc.record({ command: is('RemoteReady'), fileSystem: fc.string(), usage, owner }),
    },
    fc.record({ command: is('RemoteFailed'), reason }),
    {
      weight: 4,
      arbitrary: fc.record({
        command: is('DataReady'),
        usage,
        owner,
        durability: fc.constantFrom('data' as const, 'metadata' as const),
      }),
    },
    fc.record({ command: is('DataFailed'), reason, fault }),
    fc.record({ command: is('LayerLost'), reason, retryAt: fc.option(fc.string()) }),
    fc.record({
      command: is('LayerFound'),
      how: fc.constantFrom('mounted' as const, 'checked' as const),
    }),
    fc.record({ command: is('Collect') }),
    fc.record({ command: is('DirectoriesGone') }),
    fc.record({
      ...{ command: is('RemovalFailed'), reason },
      ...{ path: fc.constantFrom('/a', '/b'), code: fc.constantFrom('EBUSY', 'EIO') },
    }),
    fc.record({ command: is('Recover') }),
  );
}
