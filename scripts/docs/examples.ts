/** One example of every event, for docs/reference/events.md and for the tests. The compiler finds a gap. */
import { snapshotId, snapshotName } from '../../src/base/units.js';
import type { DaemonEventData, DaemonEventType } from '../../src/machines/events/daemon-events.js';
import type {
  Caller,
  SnapshotEventData,
  SnapshotEventType,
} from '../../src/machines/events/events.js';
import { TARGET_LABEL, UNVERIFIED_LABEL } from '../../src/machines/labels.js';

const ref = 'sha256:9d1cf7a5c4a1f0e6f8f0d1d0f1cb4a8e6a4a1f7d5f0a2b3c4d5e6f708192a3b4';
const caller: Caller = { namespace: 'k8s.io', pid: 812, uid: 0 };
const parent = { id: snapshotId(16), name: snapshotName('k8s.io/31/sha256:7cd5…') };
const labels = new Map([[TARGET_LABEL, ref]]);

export const snapshotExamples: {
  readonly [Type in SnapshotEventType]: SnapshotEventData<Type>;
} = {
  SnapshotPreparing: {
    id: snapshotId(17),
    kind: 'active',
    key: snapshotName('k8s.io/32/extract-814019370-9yMk sha256:9d1c…'),
    parent,
    labels,
    remote: { ref, fileSystems: ['layer-store'] },
    idMapping: null,
    caller,
  },
  IdMappingStarted: {},
  SnapshotPrepared: {},
  RemoteMountStarted: {},
  RemoteMounted: { fileSystem: 'layer-store' },
  RemoteMountFailed: { reason: 'the layer store has no layer for this chain id' },
  SnapshotCommitting: {
    name: snapshotName('k8s.io/33/sha256:9d1c…'),
    labels,
    parent,
    caller,
  },
  SnapshotCommitFailed: {
    reason: 'makeDurable did not finish within 300000 ms',
    fault: { kind: 'TimeLimitPassed' },
  },
  SnapshotCommitted: {
    name: snapshotName('k8s.io/33/sha256:9d1c…'),
    labels,
    usage: { size: 7_483_392, inodes: 412 },
    owner: { uid: 0, gid: 0 },
    parent,
    remote: null,
    durability: 'data',
  },
  LabelsUpdated: { labels, caller },
  LayerUnavailable: {
    reason: 'nothing is mounted on it after a restart',
    attempts: 0,
    retryAt: '2026-08-19T09:30:00.000000000Z',
  },
  LayerAvailable: { how: 'mounted' },
  SnapshotRemoving: { deferred: false, caller: {} },
  SnapshotCollecting: {},
  SnapshotRemoved: {},
  SnapshotAbandoned: {
    reason: 'the daemon stopped while this was under way; no client has had an answer',
    fault: null,
    inferred: true,
  },
  SnapshotRemovalFailed: {
    path: '/var/lib/stratalog/snapshots/12/fs/mnt',
    code: 'EBUSY',
    reason: 'remove /var/lib/stratalog/snapshots/12/fs/mnt: EBUSY',
  },
  SnapshotSalvaged: {
    id: snapshotId(12),
    name: snapshotName('salvaged/12'),
    labels: new Map([
      [UNVERIFIED_LABEL, 'the log was lost; parent, name and labels are not known'],
    ]),
    usage: { size: 7_483_392, inodes: 412 },
    owner: { uid: 0, gid: 0 },
    looked: 'committed',
    reason: 'the log was lost; parent, name and labels are not known',
  },
};

const orphan = { name: '41', path: '/var/lib/stratalog/snapshots/41' };

export const daemonExamples: { readonly [Type in DaemonEventType]: DaemonEventData<Type> } = {
  DaemonStarted: {
    release: '0.1.0',
    node: 'v20.20.0',
    pid: 4711,
    epoch: 1,
    replayed: 94,
    checkpoint: 12_000,
    settings: { asynchronousRemove: false, durability: 'data' },
  },
  TailCut: {
    segment: '00000000000000012000.log',
    offset: 18_220,
    bytes: 151,
    savedAs: '/var/lib/stratalog/log/quarantine/12094.tail',
  },
  RootFileSystemChanged: {
    part: 'root',
    how: 'same-id',
    before: { type: 'btrfs', id: 'bb51af6d-feb7-4caa-9076-7c387cc803a2/256', device: '45' },
    after: { type: 'btrfs', id: 'bb51af6d-feb7-4caa-9076-7c387cc803a2/256', device: '48' },
  },
  ClockStepped: {
    byMillis: -3_600_000,
    expected: '2026-03-29T04:12:07.512000000Z',
    found: '2026-03-29T03:12:07.512000000Z',
  },
  RecoveryPlanned: {
    adopted: 3,
    findings: [
      {
        kind: 'AbandonedPreparation',
        subject: 'snapshot 40 k8s.io/77/web',
        action: 'abandon it, and remove its directory if it is unused',
      },
    ],
    omitted: 0,
  },
  DirectoriesPreallocated: { ids: [42, 43, 44].map(snapshotId) },
  PreallocatedReleased: { ids: [44].map(snapshotId) },
  DirectoryRecreated: { id: 39, path: '/var/lib/stratalog/snapshots/39/fs' },
  OrphanFound: orphan,
  OrphanRemoved: orphan,
  DirectoriesCollected: { collected: 2, orphans: 1, replayedTo: 12_131 },
  SegmentChecked: {
    from: 61_204,
    to: 118_377,
    bytes: 16_776_904,
    sha256: 'c2b1f0a53c6f0e3f8b6d2a9f4f7f3d0c5d9b7e1a64c80f2e9a7d5b3c1e0f8a62',
  },
  CheckpointTaken: { position: 12_140, snapshots: 38 },
  SegmentsRetired: { before: 12_000, segments: ['00000000000000000000.log'] },
  LogRepaired: {
    release: 'stratalog 0.1.0',
    findings: [
      {
        kind: 'record-damaged',
        place: '00000000000000012000.seg at offset 18220, position 12094',
        detail: 'a record fails its checksum; the next whole record is 12095, at offset 18416',
      },
    ],
    omitted: 0,
    steps: [
      'quarantine 00000000000000012000.seg: 1120 bytes after offset 18220 do not continue the log',
      'rewrite 00000000000000012000.seg with the records at positions 12000 to 12093 of 00000000000000012000.seg',
    ],
    quarantine: 'quarantine-2-1790000000000000000',
    files: ['00000000000000012000.seg', 'identity.json'],
    history: null,
    lost: { from: 12_094, to: 12_131, readable: 36 },
    epochBefore: 1,
    epoch: 2,
    replaces: null,
    kept: [40, 41].map(snapshotId),
    nextId: snapshotId(42),
  },
  DirectoriesSetAside: {
    directories: [{ name: '43', because: 'preallocated', evidence: 'fs is not empty' }],
  },
  DirectoriesReleased: { names: ['43'], because: 'requested', caller: { pid: 4800, uid: 0 } },
  DaemonStopped: { why: 'SIGTERM' },
};
