/** After a repair: what is still wrong, and letting go what was set aside. */
import type { Clock, Disk } from '../base/ports.js';
import { reasonOf } from '../base/errors.js';
import { snapshotId, streamVersion } from '../base/units.js';
import { checkEvents } from '../inspect/check-events.js';
import { Replay } from '../inspect/replay.js';
import { CheckpointUnusable } from '../log/errors.js';
import type { LockHolder } from '../log/lock.js';
import { openLog } from '../log/log.js';
import type { EventToAppend } from '../log/types.js';
import { verifyLog } from '../log/verify.js';
import { DAEMON_EVENTS, DAEMON_STREAM } from '../machines/daemon-events.js';
import { encodeSnapshotEvent, SNAPSHOT_EVENTS } from '../machines/events.js';
import { UNVERIFIED_LABEL } from '../machines/labels.js';
import { streamOf } from '../machines/streams.js';

export interface FindingLeft {
  readonly kind: string;
  readonly detail: string;
}

/** Everything that `stratalog verify` would call more than information. */
export async function findingsLeft(disk: Disk, root: string): Promise<readonly FindingLeft[]> {
  const left: FindingLeft[] = [];
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    left.push({ kind: item.kind, detail: item.detail });
  }
  for await (const { kind, detail } of checkEvents(disk, root)) left.push({ kind, detail });
  return left;
}

export interface ReleaseOptions {
  readonly root: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly writtenBy: string;
  readonly holder: LockHolder;
  /** Null: all of them. */
  readonly wanted: readonly number[] | null;
  confirm(directories: readonly number[], snapshots: readonly number[]): Promise<boolean>;
}

export interface Released {
  readonly directories: readonly number[];
  readonly snapshots: readonly number[];
}

/**
 * Directories that were set aside become orphans, which the next start deletes; unverified
 * snapshots become ordinary ones, which containerd may remove. Fails as `openLog` does.
 */
export async function releaseKept(options: ReleaseOptions): Promise<Released> {
  let replay = new Replay();
  const { log } = await openLog({
    ...{ root: options.root, disk: options.disk, clock: options.clock },
    ...{ writtenBy: options.writtenBy, holder: options.holder, expectExisting: true },
    uuid: () => '',
    onCheckpoint: async (text) => {
      try {
        replay = await Replay.restore(text);
      } catch (cause) {
        throw new CheckpointUnusable(reasonOf(cause), { cause });
      }
    },
    onRecords: (batch) => {
      for (const record of batch) replay.apply(record);
    },
    onWarning: () => undefined,
  });
  try {
    const isWanted = (id: number): boolean => options.wanted?.includes(id) ?? true;
    const directories = [...replay.forest.kept].filter(isWanted);
    const unverified = [...replay.forest.values()].filter(
      ({ id, labels }) => isWanted(id) && labels.has(UNVERIFIED_LABEL),
    );
    const released = { directories, snapshots: unverified.map(({ id }) => id) };
    if (!(await options.confirm(released.directories, released.snapshots))) return released;
    const events: EventToAppend[] = unverified.map((state) => {
      const labels = new Map(state.labels);
      labels.delete(UNVERIFIED_LABEL);
      const data = encodeSnapshotEvent({ type: 'LabelsUpdated', data: { labels, caller: {} } });
      return {
        ...{ stream: streamOf(state.id), type: 'LabelsUpdated', data },
        expectedVersion: streamVersion(state.streamVersion + 1),
        schemaVersion: SNAPSHOT_EVENTS.LabelsUpdated.version,
      };
    });
    if (directories.length > 0) {
      events.push({
        ...{ stream: DAEMON_STREAM, type: 'DirectoriesReleased' },
        expectedVersion: streamVersion(replay.daemonStreamVersion),
        schemaVersion: DAEMON_EVENTS.DirectoriesReleased.version,
        data: { ids: directories.map(snapshotId) },
      });
    }
    if (events.length > 0) await log.append(events, { sync: true }).durable;
    return released;
  } finally {
    await log.close();
  }
}
