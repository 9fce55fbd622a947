/** Lists the directories in a root's `snapshots/` that belong to a snapshot. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemDisk } from '../../src/host/files/disk.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';

/**
 * Names of the directories, without those that are preallocated according to the log. In a root of
 * another snapshotter, which has no log, all of them.
 */
export async function directoriesInUse(root: string): Promise<string[]> {
  // Listed before the log is read, so that every listed directory is in the log.
  const names = readdirSync(join(root, 'snapshots'));
  if (!existsSync(join(root, 'log'))) return names;
  const { replay } = await replayRoot(systemDisk(), root);
  const preallocated = new Set([...replay.forest.preallocated].map(String));
  return names.filter((name) => !preallocated.has(name));
}
