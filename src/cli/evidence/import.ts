/** `stratalog import`: creates a root from an export, completely or not at all. */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { orAborted } from '../../base/abort.js';
import { reasonOf, UsageError } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { RELEASE } from '../../api/release.js';
import { refuseInRoot } from '../../api/root/root-path.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import { importLog } from '../../export/import/import-log.js';
import type { ImportedLog } from '../../export/import/imported-log.js';
import { printNotice, withOutput, type Output } from '../terminal/print.js';
import { readTar } from './read-tar.js';
import { abortOnSignals } from '../terminal/signals.js';

interface Flags {
  readonly root: string;
  readonly json?: true;
}

export function importCommand(): Command {
  return new Command('import')
    .description('create a root from an export')
    .argument('<file>', 'output of `stratalog export`, in either format; - for stdin')
    .requiredOption('--root <dir>', 'new or empty directory for the root')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
The whole input is verified before the root is created: each record is hashed, and the written log is
verified as \`stratalog verify\` does. A failed import leaves no files.
The new root has a log but no snapshot directories. Do not serve it.

Examples:
  stratalog import log.jsonl --root /tmp/look
  ssh node stratalog export --format tar | stratalog import - --root /tmp/look

Exits 3 if the export is damaged, 5 if it was written by a newer release.`,
    )
    .action((file: string, flags: Flags) => withOutput({}, (out) => run(file, flags, out)));
}

async function run(file: string, flags: Flags, out: Output): Promise<void> {
  if (flags.root === '') throw new UsageError('--root is empty: give the directory to create');
  const root = resolve(flags.root);
  await refuseInRoot(root);
  const imported = await abortOnSignals((stop) => importFrom(file, root, stop));
  await print(root, imported, flags, out);
  if (!imported.complete) {
    printNotice(
      `the exported log was damaged at position ${imported.position}: ` +
        'later events are not in the export',
    );
  }
}

function importFrom(file: string, root: string, stop: AbortSignal): Promise<ImportedLog> {
  const world = {
    disk: stoppable(systemDisk(), stop),
    clock: systemClock(),
    writtenBy: `stratalog ${RELEASE}`,
    readTar,
    removeTree: (path: string) => rm(path, { recursive: true, force: true }),
  };
  return importLog(world, inputOf(file, stop), root);
}

/** Stops the verification of a large log, which is not waiting for input. */
const stoppable = (disk: Disk, stop: AbortSignal): Disk => ({
  ...disk,
  open: async (path, mode) => {
    stop.throwIfAborted();
    return disk.open(path, mode);
  },
});

async function* inputOf(file: string, stop: AbortSignal): AsyncGenerator<Uint8Array> {
  const input = file === '-' ? process.stdin : createReadStream(file);
  const pieces: AsyncIterator<Uint8Array> = input[Symbol.asyncIterator]();
  try {
    for (;;) {
      const piece = await orAborted(pieces.next(), stop);
      if (piece.done === true) return;
      yield piece.value;
    }
  } catch (cause) {
    throw new UsageError(`cannot read ${file}: ${reasonOf(cause)}`, { cause });
  } finally {
    input.destroy();
  }
}

async function print(root: string, log: ImportedLog, flags: Flags, out: Output): Promise<void> {
  if (flags.json === true) {
    await out.json('import', { root, ...log });
    return;
  }
  const { uuid, epoch, position, chain } = log;
  await out.line(
    `${root}: log ${uuid}, epoch ${epoch}, up to position ${position}, chain head ${chain}`,
  );
}
