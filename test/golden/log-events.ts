/**
 * The appends of the golden log, in order: one short life of a root in which every event type
 * occurs. Each entry is one append; `sync` says whether it was waited for.
 */
import { snapshotId, snapshotName, streamVersion, type SnapshotId } from '../../src/base/units.js';
import type { EventToAppend } from '../../src/log/types.js';
import { DAEMON_EVENTS, DAEMON_STREAM, type DaemonEvent } from '../../src/machines/events/daemon-events.js';
import {
  encodeSnapshotEvent,
  SNAPSHOT_EVENTS,
  type ParentLink,
  type SnapshotEvent,
} from '../../src/machines/events/events.js';
import { streamOf } from '../../src/machines/events/streams.js';

export interface GoldenAppend {
  readonly sync: boolean;
  readonly events: readonly EventToAppend[];
}

const layer = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`;
const caller = {
  ...{ namespace: 'k8s.io', lease: 'pull-1', pid: 4242, uid: 0 },
  ...{ startedAt: '5f0c1f6e-8167', program: 'containerd-9d530a4b' },
};
const usage = { size: 8192, inodes: 3 };
const owner = { uid: 0, gid: 0 };
const idMapping = {
  uids: '0:100000:65536',
  gids: '0:0:4294967295',
  appliedBy: 'snapshotter',
} as const;
/** Labels that no ASCII-only reader survives. */
const labels = new Map([
  ['containerd.io/snapshot.ref', layer(1)],
  ['org.example/名前', 'größer "so"\n'],
  ['__proto__', 'a label like any other'],
]);

/** Collects appends, and counts the versions of the streams. */
class Life {
  readonly appends: GoldenAppend[] = [];
  readonly #versions = new Map<string, number>();

  snapshot(id: SnapshotId, sync: boolean, ...events: readonly SnapshotEvent[]): void {
    const stream = streamOf(id);
    this.#append(
      sync,
      events.map((event) => ({
        stream,
        expectedVersion: this.#next(stream),
        type: event.type,
        schemaVersion: SNAPSHOT_EVENTS[event.type].version,
        data: encodeSnapshotEvent(event),
        closesStream: event.type === 'SnapshotRemoved',
      })),
    );
  }

  daemon(...events: readonly DaemonEvent[]): void {
    this.#append(
      true,
      events.map((event) => ({
        stream: DAEMON_STREAM,
        expectedVersion: this.#next(DAEMON_STREAM),
        type: event.type,
        schemaVersion: DAEMON_EVENTS[event.type].version,
        data: event.data,
      })),
    );
  }

  #append(sync: boolean, events: readonly EventToAppend[]): void {
    this.appends.push({ sync, events });
  }

  #next(stream: string) {
    const version = this.#versions.get(stream) ?? 0;
    this.#versions.set(stream, version + 1);
    return streamVersion(version);
  }
}

const lookup = { ref: layer(1), fileSystems: ['layer-store'] };

function preparing(
  id: SnapshotId,
  key: string,
  parent: ParentLink | null,
  { view = false, mapped = false } = {},
): SnapshotEvent {
  return {
    type: 'SnapshotPreparing',
    data: {
      id,
      kind: view ? 'view' : 'active',
      key: snapshotName(key),
      parent,
      labels,
      remote: view || mapped ? null : lookup,
      idMapping: mapped ? idMapping : null,
      caller,
    },
  };
}

export function goldenAppends(): readonly GoldenAppend[] {
  const life = new Life();
  daemonStarts(life);
  const remote = remoteLayer(life);
  const plain = ordinaryLayer(life, remote);
  leavings(life, plain);
  repaired(life);
  life.daemon(
    { type: 'SegmentChecked', data: firstSegment },
    { type: 'DaemonStopped', data: { why: 'SIGTERM' } },
  );
  return life.appends;
}

function daemonStarts(life: Life): void {
  life.daemon(
    {
      type: 'DaemonStarted',
      data: {
        release: '0.1.0',
        node: 'v20.19.0',
        pid: 1,
        epoch: 1,
        replayed: 0,
        checkpoint: null,
        settings: { durability: 'data' },
      },
    },
    {
      type: 'TailCut',
      data: { segment: '00000000000000000000.seg', offset: 136, bytes: 12, savedAs: 'x.broken' },
    },
    {
      type: 'RecoveryPlanned',
      data: {
        adopted: 1,
        findings: [
          { kind: 'OrphanDirectory', subject: '/r/snapshots/9', action: 'remove its directory' },
        ],
        omitted: 0,
      },
    },
    { type: 'DirectoriesPreallocated', data: { ids: [11, 12].map(snapshotId) } },
    { type: 'PreallocatedReleased', data: { ids: [11, 12].map(snapshotId) } },
    { type: 'DirectoryRecreated', data: { id: 9, path: '/r/snapshots/9/fs' } },
    { type: 'OrphanFound', data: { name: '9', path: '/r/snapshots/9' } },
    { type: 'OrphanRemoved', data: { name: '9', path: '/r/snapshots/9' } },
  );
}

/** Snapshot 1: found in the remote file system, lost, and found again. */
function remoteLayer(life: Life): ParentLink {
  const id = snapshotId(1);
  const name = snapshotName(layer(1));
  const remote = { ref: layer(1), fileSystem: 'layer-store' };
  life.snapshot(id, false, preparing(id, 'k8s.io/1/extract-1-a b', null));
  life.snapshot(id, true, { type: 'RemoteMountStarted', data: {} });
  life.snapshot(
    id,
    true,
    { type: 'RemoteMounted', data: { fileSystem: 'layer-store' } },
    {
      type: 'SnapshotCommitted',
      data: {
        ...{ name, labels, usage: { size: 0, inodes: 0 }, owner, parent: null },
        ...{ remote, durability: 'data' },
      },
    },
  );
  life.snapshot(id, true, {
    type: 'LayerUnavailable',
    data: { reason: 'the store is gone', attempts: 0, retryAt: '2026-01-01T00:10:00.000000000Z' },
  });
  life.snapshot(id, true, { type: 'LayerAvailable', data: { how: 'mounted' } });
  return { id, name };
}

/** Snapshot 2: pulled as usual after the remote file system had said no. */
function ordinaryLayer(life: Life, parent: ParentLink): ParentLink {
  const id = snapshotId(2);
  const name = snapshotName('k8s.io/3/sha256:two');
  const committing = { name, labels, parent, caller };
  life.snapshot(id, false, preparing(id, 'k8s.io/2/extract-2-a c', parent));
  life.snapshot(id, true, { type: 'RemoteMountStarted', data: {} });
  life.snapshot(id, true, { type: 'RemoteMountFailed', data: { reason: 'no such layer' } });
  life.snapshot(id, false, { type: 'SnapshotCommitting', data: committing });
  life.snapshot(id, true, {
    type: 'SnapshotCommitFailed',
    data: { reason: 'EIO', fault: { kind: 'HostFault', errno: 'EIO' } },
  });
  life.snapshot(id, false, { type: 'SnapshotCommitting', data: committing });
  life.snapshot(id, true, {
    type: 'SnapshotCommitted',
    data: {
      ...{ name, labels, usage, owner: { uid: 100_000, gid: 100_000 } },
      ...{ parent, remote: null, durability: 'data' },
    },
  });
  life.snapshot(id, true, {
    type: 'LabelsUpdated',
    data: { labels: new Map([['a', 'b']]), caller },
  });
  return { id, name };
}

/** Snapshots 3 to 6: a view and a container in a user namespace that stay, one abandoned, one removed and collected. */
function leavings(life: Life, parent: ParentLink): void {
  const [view, container, abandoned, removed] = [3, 4, 5, 6].map(snapshotId);
  if (view === undefined || container === undefined) throw new Error('four ids');
  if (abandoned === undefined || removed === undefined) throw new Error('four ids');
  life.snapshot(view, false, preparing(view, 'k8s.io/4/view', parent, { view: true }));
  life.snapshot(view, true, { type: 'SnapshotPrepared', data: {} });
  const mapped = preparing(container, 'k8s.io/5/container', parent, { mapped: true });
  life.snapshot(container, false, mapped);
  life.snapshot(container, true, { type: 'IdMappingStarted', data: {} });
  life.snapshot(container, true, { type: 'SnapshotPrepared', data: {} });
  life.snapshot(abandoned, false, preparing(abandoned, 'k8s.io/6/gone', null));
  life.snapshot(abandoned, true, {
    type: 'SnapshotAbandoned',
    data: { reason: 'ENOSPC', fault: { kind: 'HostFault', errno: 'ENOSPC' }, inferred: false },
  });
  const path = '/var/lib/stratalog/snapshots/5/fs';
  life.snapshot(abandoned, true, {
    type: 'SnapshotRemovalFailed',
    data: { path, code: 'EBUSY', reason: `remove ${path}: EBUSY` },
  });
  life.snapshot(removed, false, preparing(removed, 'k8s.io/7/removed', parent));
  life.snapshot(removed, true, { type: 'SnapshotPrepared', data: {} });
  life.snapshot(removed, true, { type: 'SnapshotRemoving', data: { deferred: true, caller: {} } });
  life.snapshot(removed, true, { type: 'SnapshotCollecting', data: {} });
  life.daemon(
    { type: 'DirectoriesCollected', data: { collected: 1, orphans: 0, replayedTo: 33 } },
    { type: 'CheckpointTaken', data: { position: 33, snapshots: 6 } },
    { type: 'SegmentsRetired', data: { before: 0, segments: [] } },
  );
  life.snapshot(removed, true, { type: 'SnapshotRemoved', data: {} });
}

/** Snapshot 7: all that is left of what was lost with a damaged log, and taken in again. */
function repaired(life: Life): void {
  life.daemon(
    {
      type: 'LogRepaired',
      data: {
        release: '0.1.0',
        findings: [
          {
            kind: 'record-damaged',
            place: '00000000000000000000.seg at offset 704, position 34',
            detail: 'a record fails its checksum',
          },
        ],
        omitted: 0,
        steps: ['end the log at position 34'],
        quarantine: 'quarantine-2-1767225600000000000',
        files: ['00000000000000000000.seg'],
        history: null,
        lost: { from: 34, to: 36, readable: 1 },
        epochBefore: 1,
        epoch: 2,
        replaces: null,
        kept: [8, 9].map(snapshotId),
        nextId: snapshotId(10),
      },
    },
    {
      type: 'DirectoriesSetAside',
      data: {
        directories: [
          { name: '9', because: 'preallocated', evidence: 'fs is not empty' },
          { name: '11', because: 'unowned', evidence: 'the mount on /run/c uses it as lowerdir' },
        ],
      },
    },
    { type: 'DirectoriesReleased', data: { names: ['9'], because: 'requested', caller } },
    {
      type: 'RootFileSystemChanged',
      data: {
        ...{ part: 'snapshots', how: 'same-id' },
        before: { type: 'xfs', id: '46ed0ed7-bc0d-4693-b6b8-e3089692e887', device: '1792' },
        after: { type: 'xfs', id: '46ed0ed7-bc0d-4693-b6b8-e3089692e887', device: '1793' },
      },
    },
    {
      type: 'ClockStepped',
      data: {
        byMillis: 3_600_000,
        ...{ expected: '2026-01-01T01:00:00Z', found: '2026-01-01T02:00:00Z' },
      },
    },
  );
  life.snapshot(snapshotId(7), true, {
    type: 'SnapshotSalvaged',
    data: {
      id: snapshotId(7),
      name: snapshotName('salvaged/7'),
      labels: new Map([['containerd.io/snapshot/stratalog.unverified', 'true']]),
      usage,
      owner,
      looked: 'committed',
      reason: 'the log was lost',
    },
  });
}

/** Of the first segment, as `tail -c +137 | head -c 3936 | sha256sum` has it. */
const firstSegment = {
  from: 0,
  to: 17,
  bytes: 3936,
  sha256: 'b94992b997b3b7cd52f503ef96bb52dc57f8a7fbaf667f812234375d83c32585',
};
