/** The log that a command reads: from the files of a root, or from a running daemon. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { blockingDisk } from '../../host/files/blocking-disk.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import type { LogDamaged } from '../../log/errors.js';
import { checkListening } from './daemon-socket.js';
import { EXIT } from '../exit-codes.js';
import { printNotice } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from './root-option.js';

/** Adds the flags that `withArchive` reads. */
export function withArchiveOption(command: Command): Command {
  return withRootOption(command).option(
    '-a, --address <socket>',
    'query the daemon on this unix socket instead of reading the files of a root',
  );
}

export interface ArchiveFlags extends RootFlags {
  readonly address?: string;
}

export interface ArchiveOptions {
  readonly answerMillis?: number;
  /** The command makes one query (RootArchiveOptions). */
  readonly asksOnce?: boolean;
  /** Called once if the log is damaged and reading stops there. Default: report it and exit with 3. */
  readonly onDamage?: (damage: LogDamaged) => void;
}

const CONNECT_MILLIS = 5_000;
/** Limits the wait for the first response. Streams have no limit after that. */
const ANSWER_MILLIS = 10_000;

/**
 * Runs with the selected log. Only `--address` selects a daemon, never the environment, so that a
 * command does the same everywhere.
 *
 * Fails with UsageError, or AuditFailed if no response arrives within `answerMillis`.
 */
export async function withArchive<Value>(
  flags: ArchiveFlags,
  disk: Disk,
  use: (archive: Archive) => Promise<Value>,
  {
    answerMillis = ANSWER_MILLIS,
    asksOnce = false,
    onDamage = reportDamageAsFinding,
  }: ArchiveOptions = {},
): Promise<Value> {
  const { address, root } = flags;
  if (address === undefined) {
    return use(
      new RootArchive(disk, await rootOf(flags), { asksOnce, onNotice: printNotice, onDamage }),
    );
  }
  if (root !== undefined) {
    throw new UsageError(
      `--address ${address} and --root ${root} are mutually exclusive: give the daemon to query or the root to read`,
    );
  }
  if (address === '') throw new UsageError('--address is empty: give the socket of a daemon');
  const path = resolve(address.replace(/^unix:(\/\/)?/, ''));
  await checkListening(path, CONNECT_MILLIS);
  // Loaded on demand: gRPC takes a tenth of a second to load, and file readers do not need it.
  const { AuditArchive } = await import('../../api/audit/client/remote-archive.js');
  const archive = new AuditArchive(path);
  try {
    await archive.answersWithin(answerMillis);
    return await use(archive);
  } finally {
    archive.close();
  }
}

/** The same for a command that makes one query: files are read synchronously and listed once. */
export function queryArchive<Value>(
  flags: ArchiveFlags,
  use: (archive: Archive) => Promise<Value>,
): Promise<Value> {
  return withArchive(flags, blockingDisk(), use, { asksOnce: true });
}

/** The result is still printed, from the records before the damage. */
export function reportDamage({ position, segment, offset, found }: LogDamaged): void {
  printNotice(
    `the log stops at position ${position}: ${segment} at offset ${offset}: ${found}. ` +
      'Later events are not included. Run `stratalog verify`',
  );
}

/** The same, and sets the exit code for findings. */
export function reportDamageAsFinding(damage: LogDamaged): void {
  reportDamage(damage);
  process.exitCode = EXIT.findings;
}
