/** `stratalog import`: a root made of an export, whole or not at all. */
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
import { printing, type Output } from '../terminal/print.js';
import { readTar } from './read-tar.js';
import { stoppedBySignals } from '../terminal/signals.js';

interface Flags {
  readonly root: string;
  readonly json?: true;
}

export function importCommand(): Command {
  return new Command('import')
    .description('make a root of an export, in an empty directory or one that is not there yet')
    .argument('<file>', 'what `stratalog export` wrote, in either format; - for stdin')
    .requiredOption('--root <dir>', 'the directory that becomes the root')
    .option('--json', 'print a JSON object')
    .addHelpText(
      'after',
      `
The whole input is checked before the root is there: each record is hashed again, and what was
written is read again as \`stratalog verify\` does. An import that fails leaves nothing behind.
The new root has the log and no snapshot directories: look at it, do not serve it.

Examples:
  stratalog import log.jsonl --root /tmp/look
  ssh node stratalog export --format tar | stratalog import - --root /tmp/look

Exits 3 when the export is not sound, 5 when a later release wrote it.`,
    )
    .action((file: string, flags: Flags) => printing({}, (out) => run(file, flags, out)));
}

async function run(file: string, flags: Flags, out: Output): Promise<void> {
  if (flags.root === '') throw new UsageError('--root is empty: name the directory to be made');
  const root = resolve(flags.root);
  await refuseInRoot(root);
  const imported = await stoppedBySignals((stop) => imports(file, root, stop));
  await tell(root, imported, flags, out);
  if (!imported.complete) {
    process.stderr.write(
      `stratalog: the log was damaged at position ${imported.position} when it was exported: ` +
        'what stood behind it is not in the export\n',
    );
  }
}

function imports(file: string, root: string, stop: AbortSignal): Promise<ImportedLog> {
  const world = {
    disk: stoppable(systemDisk(), stop),
    clock: systemClock(),
    writtenBy: `stratalog ${RELEASE}`,
    readTar,
    removeTree: (path: string) => rm(path, { recursive: true, force: true }),
  };
  return importLog(world, inputOf(file, stop), root);
}

/** Input may not come for long, and a large log is read for long when all of it is there. */
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
    throw new UsageError(`${file} cannot be read: ${reasonOf(cause)}`, { cause });
  } finally {
    input.destroy();
  }
}

async function tell(root: string, log: ImportedLog, flags: Flags, out: Output): Promise<void> {
  if (flags.json === true) {
    await out.json('import', { root, ...log });
    return;
  }
  const { uuid, epoch, position, chain } = log;
  await out.line(
    `${root}: log ${uuid}, epoch ${epoch}, up to position ${position}, chain head ${chain}`,
  );
}
