/** `stratalog import`: a root made of an export, whole or not at all. */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { reasonOf, UsageError } from '../base/errors.js';
import { RELEASE } from '../api/release.js';
import { systemClock } from '../host/clock.js';
import { systemDisk } from '../host/disk.js';
import { importLog } from '../maintenance/import-log.js';
import type { ImportedLog } from '../maintenance/imported-log.js';
import { printing, type Output } from './print.js';
import { readTar } from './read-tar.js';

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
  const root = resolve(flags.root);
  const world = {
    disk: systemDisk(),
    clock: systemClock(),
    writtenBy: `stratalog ${RELEASE}`,
    readTar,
    removeTree: (path: string) => rm(path, { recursive: true, force: true }),
  };
  const imported = await importLog(world, inputOf(file), root);
  await tell(root, imported, flags, out);
  if (!imported.complete) {
    process.stderr.write(
      `stratalog: the log was damaged at position ${imported.position} when it was exported: ` +
        'what stood behind it is not in the export\n',
    );
  }
}

async function* inputOf(file: string): AsyncGenerator<Uint8Array> {
  const input = file === '-' ? process.stdin : createReadStream(file);
  try {
    for await (const piece of input) yield piece as Buffer;
  } catch (cause) {
    throw new UsageError(`${file} cannot be read: ${reasonOf(cause)}`, { cause });
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
