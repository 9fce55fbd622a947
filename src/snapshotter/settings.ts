/** What an administrator may choose, as the snapshotter needs to know it. */
import type { EffectPolicies } from '../effects/policies.js';
import type { FailureLimit } from '../effects/supervisor-machine.js';
import type { MountSettings } from './mounts.js';

export interface SnapshotterSettings {
  /** Remove frees the key at once and leaves the directory to Cleanup. */
  readonly asynchronousRemove: boolean;
  /** `data`: layer contents are durable before SnapshotCommitted is. */
  readonly durability: 'data' | 'metadata';
  /** Show the upper directory as a label in Stat, Update and List. */
  readonly upperdirLabel: boolean;
  /** Directories that are made before they are asked for. 0: none. */
  readonly preallocatedDirectories: number;
  readonly mounts: MountSettings;
  readonly policies: EffectPolicies;
  readonly failureLimit: FailureLimit;
  /** A checkpoint is taken after this many events. */
  readonly checkpointEveryEvents: number;
  /** Of the older checkpoints one for so many events is kept, to look at the past. 0: none. */
  readonly historyCheckpointEveryEvents: number;
  /** Sealed segments whose records are all older than this are dropped. Null: history is kept. */
  readonly retainMillis: number | null;
}
