/**
 * A snapshot in every status of the statechart, each by the shortest true history. The generated
 * documents and the tests begin here; nothing is made up beside the events.
 */
import {
  snapshotId,
  snapshotName,
  streamVersion,
  unixNanos,
  type Labels,
} from '../../src/base/units.js';
import type { Status } from '../../src/machines/transition-table.js';
import type { ParentLink, SnapshotEvent } from '../../src/machines/events/events.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';

/** Who a history is about. The name is the one it bears in the status that is asked for. */
export interface Subject {
  readonly id: number;
  readonly name: string;
  readonly parent: ParentLink | null;
}

/** The chain id that remote snapshots of a history stand for. */
export const REF = 'sha256:aaaa';

/** The name that a snapshot in `committing` has reserved. */
export function reservedName(subject: Subject): string {
  return `${subject.name}-layer`;
}

const usage = { size: 4096, inodes: 1 };
const remote = { ref: REF, fileSystem: 'layer-store' };
const lost = { reason: 'the server does not answer', attempts: 0, retryAt: null };

const prepared: SnapshotEvent = { type: 'SnapshotPrepared', data: {} };
const mapping: SnapshotEvent = { type: 'IdMappingStarted', data: {} };
const asked: SnapshotEvent = { type: 'RemoteMountStarted', data: {} };
const mounted: SnapshotEvent = {
  type: 'RemoteMounted',
  data: { fileSystem: remote.fileSystem },
};
const removing = (deferred: boolean): SnapshotEvent => ({
  type: 'SnapshotRemoving',
  data: { deferred, caller: {} },
});

function preparing(
  subject: Subject,
  kind: 'active' | 'view',
  { key = subject.name, isRemote = false } = {},
): SnapshotEvent {
  const labels: Labels = new Map(isRemote ? [[TARGET_LABEL, REF]] : []);
  return {
    type: 'SnapshotPreparing',
    data: {
      id: snapshotId(subject.id),
      kind,
      key: snapshotName(key),
      parent: subject.parent,
      labels,
      remote: isRemote ? { ref: REF, fileSystems: [remote.fileSystem] } : null,
      idMapping: null,
      caller: {},
    },
  };
}

function committed(subject: Subject): SnapshotEvent {
  return {
    type: 'SnapshotCommitted',
    data: {
      name: snapshotName(subject.name),
      labels: new Map([[TARGET_LABEL, REF]]),
      usage,
      owner: { uid: 0, gid: 0 },
      parent: subject.parent,
      remote,
      durability: 'data',
    },
  };
}

function remoteLayer(subject: Subject): readonly SnapshotEvent[] {
  const key = `${subject.name}-key`;
  const begun = preparing(subject, 'active', { key, isRemote: true });
  return [begun, asked, mounted, committed(subject)];
}

const HISTORIES: Readonly<Record<Status, (subject: Subject) => readonly SnapshotEvent[]>> = {
  absent: () => [],
  preparing: (subject) => [preparing(subject, 'active')],
  mappingIds: (subject) => [preparing(subject, 'active'), mapping],
  mounting: (subject) => [preparing(subject, 'active', { isRemote: true }), asked],
  mounted: (subject) => [preparing(subject, 'active', { isRemote: true }), asked, mounted],
  active: (subject) => [preparing(subject, 'active'), prepared],
  committing: (subject) => [
    preparing(subject, 'active'),
    prepared,
    {
      type: 'SnapshotCommitting',
      data: {
        name: snapshotName(reservedName(subject)),
        labels: new Map(),
        parent: subject.parent,
        caller: {},
      },
    },
  ],
  view: (subject) => [preparing(subject, 'view'), prepared],
  'committed.available': remoteLayer,
  'committed.unavailable': (subject) => [
    ...remoteLayer(subject),
    { type: 'LayerUnavailable', data: lost },
  ],
  awaitingCleanup: (subject) => [preparing(subject, 'active'), prepared, removing(true)],
  removing: (subject) => [preparing(subject, 'active'), prepared, removing(false)],
  removed: (subject) => [
    preparing(subject, 'active'),
    prepared,
    removing(false),
    { type: 'SnapshotRemoved', data: {} },
  ],
};

/** The events that bring the subject from nothing into the status. */
export function historyTo(status: Status, subject: Subject): readonly SnapshotEvent[] {
  return HISTORIES[status](subject);
}

/** The state after events that follow one another, a second apart, from `state` on. */
function after(
  state: SnapshotState | null,
  events: readonly SnapshotEvent[],
): SnapshotState | null {
  let current = state;
  for (const event of events) {
    const version = current === null ? 0 : current.streamVersion + 1;
    const time = unixNanos(1_700_000_000_000_000_000n + BigInt(version) * 1_000_000_000n);
    current = fold(current, { event, time, streamVersion: streamVersion(version) });
  }
  return current;
}

/** The subject in a status; null only for `absent`. */
export function inStatus(status: Status, subject: Subject): SnapshotState | null {
  return after(null, historyTo(status, subject));
}
