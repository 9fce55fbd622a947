/**
 * Makes a root of an export. Everything is written to a directory aside, checked there as
 * `stratalog verify` checks a log, and only then renamed: an import that fails leaves no root,
 * and what was there is as it was.
 */
import { dirname } from 'node:path';
import { errnoOf, UsageError } from '../../base/errors.js';
import type { Clock, Disk } from '../../base/ports.js';
import { ExportInvalid } from '../export-lines.js';
import { logDirectory } from '../../log/files.js';
import { verifyLog } from '../../log/verify/verify.js';
import { importLines } from './import-jsonl.js';
import type { ImportedLog } from './imported-log.js';
import { importTar, type ReadTar } from './import-tar.js';

export interface ImportWorld {
  readonly disk: Disk;
  readonly clock: Pick<Clock, 'now'>;
  /** The release that writes, for example `stratalog 0.1.0`. */
  readonly writtenBy: string;
  readonly segmentBytes?: number;
  readonly readTar: ReadTar;
  /** Removes a directory and all in it. */
  readonly removeTree: (path: string) => Promise<void>;
}

/**
 * Imports into a directory that is absent or empty; its parent must exist.
 *
 * Fails  UsageError when the place is not free, ExportInvalid, LogTooNew, HostFault
 */
export async function importLog(
  world: ImportWorld,
  input: AsyncIterable<Uint8Array>,
  root: string,
): Promise<ImportedLog> {
  const { disk } = world;
  await requireFree(disk, root);
  const aside = `${root}.importing`;
  await makeAside(disk, aside);
  let isRenamed = false;
  try {
    await disk.makeDirectory(logDirectory(aside));
    const { isTar, whole } = await formatOf(input);
    const query = { ...world, root: aside };
    const imported = await (isTar ? importTar(whole, query) : importLines(whole, query));
    if (imported.position === 0) throw new UsageError('the export holds no event to import');
    await requireSound(disk, aside, imported);
    await disk.syncDirectory(logDirectory(aside));
    await disk.syncDirectory(aside);
    await disk.rename(aside, root);
    isRenamed = true;
    await disk.syncDirectory(dirname(root));
    return imported;
  } finally {
    if (!isRenamed) await world.removeTree(aside);
  }
}

async function requireFree(disk: Disk, root: string): Promise<void> {
  const parent = dirname(root);
  let names: readonly string[];
  try {
    names = await disk.list(root);
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return;
    if (!['ENOTDIR', 'ELOOP'].includes(errnoOf(cause) ?? '')) throw cause;
    throw new UsageError(`${root} is no directory: name one that is empty, or not there yet`, {
      cause,
    });
  }
  if (names.length > 0) {
    throw new UsageError(
      `${root} is not empty, and an import never adds to what is there: name an empty directory, ` +
        'or one that is not there yet',
    );
  }
  if ((await disk.stat(root)).device !== (await disk.stat(parent)).device) {
    throw new UsageError(
      `${root} is where a file system is mounted, and cannot be replaced as a whole: ` +
        `name a directory in it, for example ${root}/stratalog`,
    );
  }
}

async function makeAside(disk: Disk, aside: string): Promise<void> {
  try {
    await disk.makeDirectory(aside);
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') {
      throw new UsageError(`${dirname(aside)} is not there: make it first`, { cause });
    }
    if (errnoOf(cause) !== 'EEXIST') throw cause;
    throw new UsageError(
      `${aside} is there, from an import that is under way or was killed: ` +
        'when none is, remove it and try again',
      { cause },
    );
  }
}

/** A brace begins lines of JSON; nothing that is compressed is taken for a tar. */
async function formatOf(
  input: AsyncIterable<Uint8Array>,
): Promise<{ readonly isTar: boolean; readonly whole: AsyncIterable<Uint8Array> }> {
  const pieces = input[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 262) {
    const piece = await pieces.next();
    if (piece.done === true) break;
    head = Buffer.concat([head, piece.value]);
  }
  const isTar = head.toString('latin1', 257, 262) === 'ustar';
  if (!isTar && head[0] !== 0x7b) {
    throw new ExportInvalid(
      'this is neither lines of JSON nor a tar that `stratalog export` wrote; ' +
        'when it is compressed, unpack it first: `zstd -dc FILE | stratalog import -`',
    );
  }
  const whole = (async function* () {
    yield head;
    for (let piece = await pieces.next(); piece.done !== true; piece = await pieces.next()) {
      yield piece.value;
    }
  })();
  return { isTar, whole };
}

/** What was written is read again, as `stratalog verify` would. */
async function requireSound(disk: Disk, root: string, imported: ImportedLog): Promise<void> {
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind === 'summary') {
      if (item.verifiedTo === imported.position && item.chain === imported.chain) continue;
      throw new ExportInvalid(
        `the log in it ends at position ${item.verifiedTo} with chain head ${item.chain}, and it ` +
          `says that it ends at ${imported.position} with ${imported.chain}`,
      );
    }
    if (item.severity === 'info') continue;
    const { segment, position, kind, detail } = item;
    throw new ExportInvalid(
      `the log in it is not sound: ${kind} at position ${position} (${segment}): ${detail}`,
    );
  }
}
