/** Which log a command that looks at the past is about. */
import type { Command } from 'commander';
import type { Disk } from '../base/ports.js';
import type { Archive } from '../inspect/archive.js';
import { RootArchive } from '../inspect/root-archive.js';
import { rootOf, withRootOption, type RootFlags } from './root-option.js';

/** Adds the flags that `archiveOf` reads. */
export function withArchiveOption(command: Command): Command {
  return withRootOption(command);
}

export type ArchiveFlags = RootFlags;

/** Runs with the log that is meant. @throws UsageError */
export async function withArchive<Value>(
  flags: ArchiveFlags,
  disk: Disk,
  use: (archive: Archive) => Promise<Value>,
): Promise<Value> {
  return use(new RootArchive(disk, await rootOf(flags)));
}
