/** What stands in a root's `snapshots/`, as far as it is there for a snapshot. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemDisk } from '../../src/host/files/disk.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';

/**
 * Names of the directories, without those that the log says were made ahead for nobody. A root
 * without a log, of another snapshotter, is taken as it is.
 */
export async function directoriesInUse(root: string): Promise<string[]> {
  // The directories first: one that comes later is in the log by then.
  const names = readdirSync(join(root, 'snapshots'));
  if (!existsSync(join(root, 'log'))) return names;
  const { replay } = await replayRoot(systemDisk(), root);
  const preallocated = new Set([...replay.forest.preallocated].map(String));
  return names.filter((name) => !preallocated.has(name));
}
