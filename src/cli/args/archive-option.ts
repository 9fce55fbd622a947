/** Which log a command that looks at the past is about: a root's files, or a running daemon's. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { blockingDisk } from '../../host/files/blocking-disk.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import type { LogDamaged } from '../../log/errors.js';
import { reach } from './daemon-socket.js';
import { EXIT } from '../exit-codes.js';
import { say } from '../terminal/print.js';
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

export interface ArchiveQuery {
  readonly answerMillis?: number;
  /** The whole command is one question (RootArchiveOptions). */
  readonly asksOnce?: boolean;
  /** Told once of damage before which the answers end; by default the user is, and exits 3. */
  readonly onDamage?: (damage: LogDamaged) => void;
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
  { answerMillis = ANSWER_MILLIS, asksOnce = false, onDamage = tellAndCount }: ArchiveQuery = {},
): Promise<Value> {
  const { address, root } = flags;
  if (address === undefined) {
    return use(new RootArchive(disk, await rootOf(flags), { asksOnce, onNotice: say, onDamage }));
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
  const { AuditArchive } = await import('../../api/audit/client/remote-archive.js');
  const archive = new AuditArchive(path);
  try {
    await archive.answersWithin(answerMillis);
    return await use(archive);
  } finally {
    archive.close();
  }
}

/** The same for a command that asks one thing: files are read on the spot, and listed once. */
export function askArchive<Value>(
  flags: ArchiveFlags,
  use: (archive: Archive) => Promise<Value>,
): Promise<Value> {
  return withArchive(flags, blockingDisk(), use, { asksOnce: true });
}

/** What was asked is answered all the same, as far as the log goes. */
export function tellDamage({ position, segment, offset, found }: LogDamaged): void {
  say(
    `the log stops at position ${position}: ${segment} at offset ${offset}: ${found}. ` +
      'What stands behind it is not told of. Run `stratalog verify`',
  );
}

/** The same, and the command ends with the exit code of findings. */
export function tellAndCount(damage: LogDamaged): void {
  tellDamage(damage);
  process.exitCode = EXIT.findings;
}
