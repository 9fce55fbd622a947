/**
 * Holds a root whose daemon is stopped for writing: takes the lock, replays the log, and closes it
 * in every case. Opens the log as the daemon does: cuts a torn tail and records that in the log.
 */
import { reasonOf } from '../base/errors.js';
import type { Clock, Disk } from '../base/ports.js';
import { position, type Position } from '../base/units.js';
import {
  checkpointLines,
  daemonDrafts,
  fileSystemEvents,
  tailCutEvent,
} from '../inspect/events/owner-records.js';
import { OpeningReplay } from '../inspect/archive/opening-replay.js';
import type { Replay } from '../inspect/archive/replay.js';
import { contradictionInRoot } from '../inspect/startup/root-agreement.js';
import { openLog } from '../log/log.js';
import type { LockHolder } from '../log/root/lock.js';
import type { EventLog, EventToAppend } from '../log/types.js';
import type { DaemonEvent } from '../machines/events/daemon-events.js';
import { headOf } from '../machines/snapshots/state-json.js';

export interface HoldOptions {
  readonly root: string;
  readonly disk: Disk;
  readonly clock: Clock;
  /** The release that writes, for example `stratalog 0.1.0`. */
  readonly writtenBy: string;
  /** Reported to other processes that find the root locked. */
  readonly holder: LockHolder;
  readonly onWarning: (message: string) => void;
}

export interface HeldRoot {
  readonly log: EventLog;
  /** The current state; `append` and `record` advance it. */
  readonly replay: Replay;
  /** The checkpoint that the replay began with, or null. */
  readonly checkpoint: Position | null;
  /** Appends events of any stream; resolves when they are durable. */
  append(events: readonly EventToAppend[]): Promise<void>;
  /** Appends events to the stream of the daemon; resolves when they are durable. */
  record(...events: readonly DaemonEvent[]): Promise<void>;
  /** Writes a checkpoint of the current state and records it. Returns its position. */
  takeCheckpoint(): Promise<Position>;
}

/**
 * Runs `use` while holding the root.
 *
 * Fails  RootLocked, RootRefused, LogDamaged, LogTooNew, EventNotUnderstood, HostFault, or what
 *        `use` throws
 */
export async function holdRoot<Value>(
  options: HoldOptions,
  use: (held: HeldRoot) => Promise<Value>,
): Promise<Value> {
  const opening = new OpeningReplay();
  const { log, recovery, recordFileSystems } = await openLog({
    ...options,
    // Never creates a root.
    expectExisting: true,
    uuid: () => {
      throw new Error('a held root already has a UUID');
    },
    onCheckpoint: opening.onCheckpoint,
    onRecords: opening.onRecords,
    contradictionInRoot: () =>
      contradictionInRoot(options.disk, options.root, opening.replay.forest),
    onWarning: (message, cause) => {
      options.onWarning(cause === undefined ? message : `${message}: ${reasonOf(cause)}`);
    },
  });
  try {
    const held = new Held(log, opening.replay, recovery.checkpoint);
    if (recovery.tornTail !== null) {
      options.onWarning(
        `an unfinished append was cut from the end of the log and saved as ` +
          recovery.tornTail.savedAs,
      );
      await held.record(tailCutEvent(recovery.tornTail));
    }
    if (recovery.fileSystems.length > 0) {
      await held.record(...fileSystemEvents(recovery.fileSystems));
    }
    await recordFileSystems();
    return await use(held);
  } finally {
    await log.close();
  }
}

class Held implements HeldRoot {
  constructor(
    readonly log: EventLog,
    readonly replay: Replay,
    readonly checkpoint: Position | null,
  ) {}

  async record(...events: readonly DaemonEvent[]): Promise<void> {
    await this.append(daemonDrafts(events, this.replay.daemonStreamVersion));
  }

  async append(events: readonly EventToAppend[]): Promise<void> {
    const { records, durable } = this.log.append(events, { sync: true });
    await durable;
    for (const record of records) this.replay.apply(record);
  }

  async takeCheckpoint(): Promise<Position> {
    const { forest, daemonStreamVersion } = this.replay;
    const cut = forest.cut();
    const at = position(this.log.durablePosition);
    const head = headOf(forest, daemonStreamVersion);
    await this.log.writeCheckpoint({ position: at, lines: checkpointLines(head, cut) });
    await this.record({ type: 'CheckpointTaken', data: { position: at, snapshots: cut.size } });
    return at;
  }
}
