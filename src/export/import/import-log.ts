/**
 * Creates a root from an export. The import writes to a staging directory, verifies the log there
 * as `stratalog verify` does, and then renames it. A failed import leaves no root and changes no
 * existing file.
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

export interface ImportContext {
  readonly disk: Disk;
  readonly clock: Pick<Clock, 'now'>;
  /** The release that writes, for example `stratalog 0.1.0`. */
  readonly writtenBy: string;
  readonly segmentBytes?: number;
  readonly readTar: ReadTar;
  /** Removes a directory and its content. */
  readonly removeTree: (path: string) => Promise<void>;
}

/**
 * Imports into a directory that is absent or empty; its parent must exist.
 *
 * Fails  UsageError if the target is not usable; ExportInvalid, LogTooNew, HostFault
 */
export async function importLog(
  context: ImportContext,
  input: AsyncIterable<Uint8Array>,
  root: string,
): Promise<ImportedLog> {
  const { disk } = context;
  await requireUsableTarget(disk, root);
  const staging = `${root}.importing`;
  await makeStaging(disk, staging);
  let isRenamed = false;
  try {
    await disk.makeDirectory(logDirectory(staging));
    const { isTar, whole } = await formatOf(input);
    const options = { ...context, root: staging };
    const imported = await (isTar ? importTar(whole, options) : importLines(whole, options));
    if (imported.position === 0) throw new UsageError('the export contains no events');
    await requireSound(disk, staging, imported);
    await disk.syncDirectory(logDirectory(staging));
    await disk.syncDirectory(staging);
    await disk.rename(staging, root);
    isRenamed = true;
    await disk.syncDirectory(dirname(root));
    return imported;
  } finally {
    if (!isRenamed) await context.removeTree(staging);
  }
}

async function requireUsableTarget(disk: Disk, root: string): Promise<void> {
  const parent = dirname(root);
  let names: readonly string[];
  try {
    names = await disk.list(root);
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return;
    if (!['ENOTDIR', 'ELOOP'].includes(errnoOf(cause) ?? '')) throw cause;
    throw new UsageError(`${root} is not a directory: give an empty or new directory`, { cause });
  }
  if (names.length > 0) {
    throw new UsageError(
      `${root} is not empty, and import does not merge: give an empty or new directory`,
    );
  }
  if ((await disk.stat(root)).device !== (await disk.stat(parent)).device) {
    throw new UsageError(
      `${root} is a mountpoint and cannot be replaced: ` +
        `give a directory below it, for example ${root}/stratalog`,
    );
  }
}

async function makeStaging(disk: Disk, staging: string): Promise<void> {
  try {
    await disk.makeDirectory(staging);
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') {
      throw new UsageError(`${dirname(staging)} does not exist: create it first`, { cause });
    }
    if (errnoOf(cause) !== 'EEXIST') throw cause;
    throw new UsageError(
      `${staging} exists, left by an import that is running or was killed: ` +
        'if no import is running, remove it and try again',
      { cause },
    );
  }
}

/** JSON lines begin with a brace, and a tar has its magic; compressed input has neither. */
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
      'the input is neither JSON lines nor a tar written by `stratalog export`; ' +
        'if it is compressed, decompress it first: `zstd -dc FILE | stratalog import -`',
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

/** Verifies the written log as `stratalog verify` does. */
async function requireSound(disk: Disk, root: string, imported: ImportedLog): Promise<void> {
  for await (const item of verifyLog({ root, disk })) {
    if (item.kind === 'summary') {
      if (item.verifiedTo === imported.position && item.chain === imported.chain) continue;
      throw new ExportInvalid(
        `the exported log ends at position ${item.verifiedTo} with chain head ${item.chain}, but ` +
          `the export declares position ${imported.position} with chain head ${imported.chain}`,
      );
    }
    if (item.severity === 'info') continue;
    const { segment, position, kind, detail } = item;
    throw new ExportInvalid(
      `the exported log is damaged: ${kind} at position ${position} (${segment}): ${detail}`,
    );
  }
}
