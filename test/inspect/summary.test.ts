/** Goal: every event has a sentence, and what is not understood is shown as it stands. */
import { describe, expect, it } from 'vitest';
import { snapshotId, streamVersion, unixNanos } from '../../src/base/units.js';
import { summaryOf } from '../../src/inspect/events/summary.js';
import { DAEMON_EVENTS } from '../../src/machines/events/daemon-events.js';
import type { SNAPSHOT_EVENTS } from '../../src/machines/events/events.js';

const caller = { namespace: 'k8s.io', pid: 9 };
const parent = { id: 1, name: 'base' };
const finding = (kind: string) => ({ kind, subject: 's', action: 'a' });

/** A body of each type, and its sentence. */
const sentences: Record<
  keyof typeof SNAPSHOT_EVENTS | keyof typeof DAEMON_EVENTS,
  readonly [data: Record<string, unknown>, sentence: string]
> = {
  SnapshotPreparing: [
    {
      ...{
        id: 2,
        kind: 'active',
        key: 'k',
        parent,
        labels: {},
        remote: { ref: 'sha256:t', fileSystems: [] },
        caller,
      },
      idMapping: { uids: '0:1000:10', gids: '0:2000:10', appliedBy: 'client' },
    },
    'active k on base target sha256:t ids mapped 0:1000:10 and groups 0:2000:10 by the client by k8s.io, pid 9',
  ],
  IdMappingStarted: [{}, ''],
  SnapshotPrepared: [{}, ''],
  RemoteMountStarted: [{}, ''],
  RemoteMounted: [{ fileSystem: 'layer-store' }, 'by layer-store'],
  RemoteMountFailed: [{ reason: 'no such layer' }, 'no such layer'],
  SnapshotCommitting: [
    { name: 'n', labels: {}, parent: null, caller: { pid: 9 } },
    'as n by pid 9',
  ],
  SnapshotCommitFailed: [{ reason: 'no space', fault: null }, 'no space'],
  SnapshotCommitted: [
    {
      ...{ name: 'n', labels: {}, usage: { size: 4096, inodes: 3 }, parent, remote: null },
      owner: { uid: 0, gid: 0 },
      durability: 'data',
    },
    'as n on base (4096 bytes in 3 inodes; data durable)',
  ],
  LabelsUpdated: [{ labels: { a: '1', b: '2' }, caller }, '2 labels by k8s.io, pid 9'],
  LayerUnavailable: [
    { reason: 'gone', attempts: 1, retryAt: '2026-01-01T00:00:00Z' },
    'gone (1 attempt so far; next 2026-01-01T00:00:00Z)',
  ],
  LayerAvailable: [{ how: 'mounted' }, 'mounted'],
  SnapshotRemoving: [{ deferred: true, caller: {} }, 'deferred to Cleanup'],
  SnapshotCollecting: [{}, ''],
  SnapshotRemoved: [{}, ''],
  SnapshotAbandoned: [
    { reason: 'given up', fault: { kind: 'Error' }, inferred: false },
    'given up',
  ],
  SnapshotRemovalFailed: [
    { path: '/r/2/fs', code: 'EBUSY', reason: 'remove /r/2/fs: EBUSY' },
    'remove /r/2/fs: EBUSY',
  ],
  SnapshotSalvaged: [
    {
      ...{ id: 2, name: 'salvaged/2', labels: {}, usage: { size: 1, inodes: 1 } },
      owner: { uid: 0, gid: 0 },
      ...{ looked: 'committed', reason: 'the log was lost' },
    },
    'as salvaged/2, unverified: the log was lost',
  ],
  DaemonStarted: [
    {
      ...{ release: '0.1.0', node: 'v20.1.0', pid: 5, epoch: 2, replayed: 1, checkpoint: 7 },
      settings: {},
    },
    'release 0.1.0 on Node.js v20.1.0, process 5, epoch 2; 1 record replayed from the checkpoint at 7',
  ],
  TailCut: [
    { segment: '0.seg', offset: 136, bytes: 9, savedAs: '0.seg.136.broken' },
    '9 bytes of 0.seg from offset 136, saved as 0.seg.136.broken',
  ],
  RootFileSystemChanged: [
    {
      ...{ part: 'snapshots', how: 'accepted', before: null },
      after: { type: 'xfs', id: '46ed0ed7', device: '1794' },
    },
    "snapshots/: on the root's file system, now xfs 46ed0ed7, device 1794 (accepted by the operator)",
  ],
  ClockStepped: [
    {
      ...{ byMillis: -3_600_000, expected: '2026-03-29T04:12:07Z' },
      found: '2026-03-29T03:12:07Z',
    },
    'set back by 1 h: 2026-03-29T03:12:07Z instead of 2026-03-29T04:12:07Z',
  ],
  RecoveryPlanned: [
    {
      ...{ adopted: 1, omitted: 3 },
      findings: [finding('MissingMount'), finding('MissingMount'), finding('OrphanDirectory')],
    },
    '1 layer adopted; found 2 MissingMount, 1 OrphanDirectory and 3 more',
  ],
  DirectoriesPreallocated: [{ ids: [4, 5, 6].map(snapshotId) }, '4 to 6'],
  PreallocatedReleased: [{ ids: [4, 6].map(snapshotId) }, '4, 6'],
  DirectoryRecreated: [{ id: 3, path: '/r/snapshots/3/fs' }, '/r/snapshots/3/fs of snapshot 3'],
  OrphanFound: [{ name: 'x', path: '/r/snapshots/x' }, '/r/snapshots/x'],
  OrphanRemoved: [{ name: 'x', path: '/r/snapshots/x' }, '/r/snapshots/x'],
  DirectoriesCollected: [
    { collected: 2, orphans: 1, replayedTo: 40 },
    '2 snapshots, 1 orphan; log replayed to 40',
  ],
  SegmentChecked: [
    { from: 12, to: 40, bytes: 9000, sha256: '0123456789abcdef'.repeat(4) },
    'records 12 to 39 are sound, sha256 0123456789ab',
  ],
  CheckpointTaken: [{ position: 12, snapshots: 1 }, 'of position 12, 1 snapshot'],
  SegmentsRetired: [{ before: 9, segments: ['a', 'b'] }, '2 segments before 9'],
  LogRepaired: [
    {
      ...{ release: 'r', findings: [], omitted: 2, steps: [], quarantine: 'quarantine-2-9' },
      ...{ files: [], history: null, lost: { from: 4, to: 7, readable: 1 }, epochBefore: 1 },
      ...{ epoch: 2, replaces: null, kept: [3], nextId: 4 },
    },
    '2 findings; events 4 to 6 were lost; 1 directory set aside; epoch 2, files moved to quarantine-2-9',
  ],
  DirectoriesSetAside: [
    { directories: [{ name: '3', because: 'preallocated', evidence: 'fs is not empty' }] },
    '3 (preallocated: fs is not empty)',
  ],
  DirectoriesReleased: [
    { names: ['3', '4', '5', 'notes'], because: 'requested', caller },
    '3, 4, 5, notes, requested by k8s.io, pid 9',
  ],
  DaemonStopped: [{ why: 'SIGTERM' }, 'SIGTERM'],
};

const record = (type: string, data: unknown, schemaVersion = 1) => ({
  stream: type in DAEMON_EVENTS ? 'daemon' : 'snapshot-2',
  streamVersion: streamVersion(0),
  time: unixNanos(0n),
  type,
  schemaVersion,
  data,
});

describe('the summary', () => {
  it.each(Object.entries(sentences))('of %s', (type, [data, sentence]) => {
    expect(summaryOf(record(type, data))).toBe(sentence);
  });

  it.each([
    ['of a newer type', record('SnapshotFrozen', { a: 1 })],
    ['of a newer version', record('SnapshotPrepared', { a: 1 }, 2)],
    ['of a version there never was', record('SnapshotPrepared', { a: 1 }, 0)],
    ['of a malformed body', record('SnapshotAbandoned', { a: 1 })],
  ])('%s shows the body as it stands', (_what, unknown) => {
    expect(summaryOf(unknown)).toBe('(not understood by this release) {"a":1}');
  });
});
