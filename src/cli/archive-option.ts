/** Which log a command that looks at the past is about: a root's files, or a running daemon's. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../base/errors.js';
import type { Disk } from '../base/ports.js';
import type { Archive } from '../inspect/archive.js';
import { RootArchive } from '../inspect/root-archive.js';
import { reach } from './daemon-socket.js';
import { rootOf, withRootOption, type RootFlags } from './root-option.js';

/** Adds the flags that `withArchive` reads. */
export function withArchiveOption(command: Command): Command {
  return withRootOption(command).option(
    '-a, --address <socket>',
    "ask the daemon on this unix socket, instead of reading a root's files",
  );
}

export interface ArchiveFlags extends RootFlags {
  readonly address?: string;
}

const REACH_MILLIS = 5_000;
/** Until a first answer. Streams have all the time that they need behind it. */
const ANSWER_MILLIS = 10_000;

/**
 * Runs with the log that is meant. The environment names the root of most commands and the socket
 * of others; here only `--address` asks a daemon, so that a command means the same everywhere.
 *
 * Fails with UsageError, or AuditFailed when nothing answers for `answerMillis`.
 */
export async function withArchive<Value>(
  flags: ArchiveFlags,
  disk: Disk,
  use: (archive: Archive) => Promise<Value>,
  answerMillis = ANSWER_MILLIS,
): Promise<Value> {
  const { address, root } = flags;
  if (address === undefined) {
    const onNotice = (text: string) => void process.stderr.write(`stratalog: ${text}\n`);
    return use(new RootArchive(disk, await rootOf(flags), { onNotice }));
  }
  if (root !== undefined) {
    throw new UsageError(
      `--address ${address} and --root ${root} cannot both be given: name the daemon to ask, or the root to read`,
    );
  }
  if (address === '') throw new UsageError('--address is empty: name the socket of a daemon');
  const path = resolve(address.replace(/^unix:(\/\/)?/, ''));
  await reach(path, REACH_MILLIS);
  // gRPC takes a tenth of a second to load, and readers of files need none of it.
  const { AuditArchive } = await import('../api/audit-archive.js');
  const archive = new AuditArchive(path);
  try {
    await archive.answersWithin(answerMillis);
    return await use(archive);
  } finally {
    archive.close();
  }
}
