/** The checkpoint that a replay begins with: the same for every reader of a log. */
import type { Disk } from '../../base/ports.js';
import { CheckpointUnusable } from '../errors.js';
import { listLog, type NamedAt } from '../files.js';
import type { SoundCheckpoint, UnusableCheckpoint } from './checkpoint.js';

export interface IgnoredCheckpoint {
  readonly name: string;
  readonly reason: string;
}

/** What a replay may begin with. */
export interface CheckpointRange {
  /** First position that the log has. */
  readonly first: number;
  /** Newer checkpoints do not count; any age by default. */
  readonly upTo?: number | undefined;
}

export interface CheckpointChoice<Sound, Value> {
  readonly disk: Disk;
  readonly root: string;
  /** Of the log that the checkpoint must belong to. */
  readonly uuid: string;
  readonly range: CheckpointRange;
  /** `readCheckpoint`, or `examineCheckpoint` where the lines are not needed. */
  readonly read: (
    disk: Disk,
    root: string,
    named: NamedAt,
    uuid: string,
  ) => Promise<Sound | UnusableCheckpoint>;
  /** Throws CheckpointUnusable for one that it cannot use; any other error ends the choice. */
  readonly take: (found: Sound) => Value | Promise<Value>;
}

/**
 * The newest checkpoint that is sound, whose later records were not retired, and that `take` accepts;
 * null if there is none. `ignored` are the newer ones, each with the reason.
 */
export async function newestCheckpoint<Sound extends SoundCheckpoint, Value>({
  disk,
  root,
  uuid,
  range: { first, upTo = Infinity },
  read,
  take,
}: CheckpointChoice<Sound, Value>): Promise<{
  readonly chosen: Value | null;
  readonly ignored: readonly IgnoredCheckpoint[];
}> {
  const { checkpoints } = await listLog(disk, root);
  const ignored: IgnoredCheckpoint[] = [];
  for (const named of checkpoints.toReversed()) {
    const { name, position } = named;
    if (position > upTo) continue;
    const reading = await read(disk, root, named, uuid);
    if (reading.kind === 'unusable') ignored.push({ name, reason: reading.reason });
    else if (position < first && position !== upTo) {
      ignored.push({ name, reason: `records behind it were retired, up to ${first}` });
    } else {
      try {
        return { chosen: await take(reading), ignored };
      } catch (thrown) {
        if (!(thrown instanceof CheckpointUnusable)) throw thrown;
        ignored.push({ name, reason: thrown.message });
      }
    }
  }
  return { chosen: null, ignored };
}
