/**
 * Imports a tar into the files of a root. Accepts only the names that an export has, each once, and
 * ignores links, owners and modes.
 */
import { createHash } from 'node:crypto';
import type { Disk } from '../../base/ports.js';
import { EPOCH_MAX, ExportInvalid } from '../export-lines.js';
import { TAR_EXPORT_INFO, TAR_MANIFEST, TAR_SCHEMA } from '../export-tar.js';
import { parseBody } from '../../log/format/codec.js';
import { LogTooNew, RootRefused } from '../../log/errors.js';
import { fileSystemsOf } from '../../log/root/file-systems.js';
import { readIdentity, writeIdentity, type StoredIdentity } from '../../log/root/identity.js';
import type { ImportedLog } from './imported-log.js';

/** Reads an archive entry by entry; fails if it is truncated. */
export type ReadTar = (input: AsyncIterable<Uint8Array>) => AsyncIterable<ArchiveEntry>;

export interface ArchiveEntry {
  readonly type: string;
  readonly name: string;
  readonly size: number;
  /** Must be consumed before the next entry is requested. */
  readonly content: AsyncIterable<Uint8Array>;
}

export interface TarOptions {
  readonly disk: Disk;
  /** A directory that contains only an empty `log/`. */
  readonly root: string;
  readonly writtenBy: string;
  readonly readTar: ReadTar;
}

const MEBIBYTE = 1024 * 1024;
const names = [
  { form: /^identity\.json$/, bytesMax: MEBIBYTE / 16, isFile: true },
  { form: /^log\/\d{20}\.seg$/, bytesMax: 4096 * MEBIBYTE, isFile: true },
  { form: /^log\/\d{20}\.checkpoint$/, bytesMax: 8192 * MEBIBYTE, isFile: true },
  { form: /^export\.json$/, bytesMax: MEBIBYTE / 16, isFile: false },
  { form: /^MANIFEST$/, bytesMax: 64 * MEBIBYTE, isFile: false },
] as const;

/** Fails with ExportInvalid, LogTooNew, HostFault. */
export async function importTar(
  input: AsyncIterable<Uint8Array>,
  options: TarOptions,
): Promise<ImportedLog> {
  const { disk, root, writtenBy } = options;
  const sums = new Map<string, string>();
  const texts = new Map<string, string>();
  for await (const entry of options.readTar(input)) {
    // Accept the names of both `tar -c log` and `tar -c ./log`.
    const name = entry.name.replace(/^\.\//, '');
    if (entry.type === 'directory' && /^(log)?\/?$/.test(name)) continue;
    const known = names.find(({ form }) => form.test(name));
    if (known === undefined || entry.type !== 'file') {
      throw new ExportInvalid(
        `unexpected entry ${JSON.stringify(entry.name)} (${entry.type}) in the tar`,
      );
    }
    if (entry.size > known.bytesMax) {
      throw new ExportInvalid(`${name} in the tar is too large: ${entry.size} bytes`);
    }
    if (sums.has(name)) throw new ExportInvalid(`the tar contains ${name} twice`);
    const { sum, kept } = await extract(
      disk,
      known.isFile ? `${root}/${name}` : null,
      entry.content,
    );
    sums.set(name, sum);
    if (kept !== null) texts.set(name, kept.toString('utf8'));
  }
  requireManifest(sums, texts.get(TAR_MANIFEST));
  const info = readExportInfo(texts.get(TAR_EXPORT_INFO));
  return { ...info, epoch: await adoptIdentity(disk, root, writtenBy, info.uuid) };
}

/** Writes the content to a new file, or keeps it in memory if no path is given. */
async function extract(
  disk: Disk,
  path: string | null,
  content: AsyncIterable<Uint8Array>,
): Promise<{ readonly sum: string; readonly kept: Buffer | null }> {
  const hash = createHash('sha256');
  if (path === null) {
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(Buffer.from(piece));
    const kept = Buffer.concat(pieces);
    return { sum: hash.update(kept).digest('hex'), kept };
  }
  const file = await disk.open(path, 'create');
  try {
    let offset = 0;
    for await (const piece of content) {
      hash.update(piece);
      await file.write(piece, offset);
      offset += piece.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { sum: hash.digest('hex'), kept: null };
}

/** The manifest must list exactly the files of the tar, with their sums. */
function requireManifest(sums: ReadonlyMap<string, string>, manifest: string | undefined): void {
  if (manifest === undefined) {
    throw new ExportInvalid('the tar has no MANIFEST: it is truncated or not a Stratalog export');
  }
  const found = [...sums].filter(([name]) => name !== TAR_MANIFEST);
  const lines = manifest.split('\n');
  if (lines.pop() !== '') throw new ExportInvalid('the MANIFEST is truncated');
  const listed = new Map(lines.map((line) => [line.slice(66), line.slice(0, 66)]));
  for (const [name, sum] of found) {
    if (listed.get(name) === `${sum}  `) continue;
    throw new ExportInvalid(`${name} in the tar does not match its sum in MANIFEST`);
  }
  if (listed.size === found.length && lines.length === found.length) return;
  throw new ExportInvalid('MANIFEST lists files that are missing from the tar');
}

function readExportInfo(text: string | undefined): Omit<ImportedLog, 'epoch'> {
  if (text === undefined) throw new ExportInvalid(`the tar has no ${TAR_EXPORT_INFO}`);
  let fields: ReadonlyMap<string, unknown>;
  try {
    fields = new Map(Object.entries(parseBody(text)));
  } catch (cause) {
    throw new ExportInvalid(`${TAR_EXPORT_INFO} in the tar is not a JSON object`, { cause });
  }
  const uuid = fields.get('uuid');
  const to = fields.get('to');
  const chain = fields.get('chain');
  if (fields.get('schema') !== TAR_SCHEMA) {
    throw new ExportInvalid(`${TAR_EXPORT_INFO} in the tar has an unsupported schema`);
  }
  if (typeof uuid !== 'string' || typeof to !== 'number' || typeof chain !== 'string') {
    throw new ExportInvalid(`${TAR_EXPORT_INFO} in the tar is malformed`);
  }
  return { uuid, position: to, chain, complete: fields.get('complete') === true };
}

/** Rewrites the identity for the new file systems. Returns the epoch. */
async function adoptIdentity(
  disk: Disk,
  root: string,
  writtenBy: string,
  uuid: string,
): Promise<number> {
  const identity = await identityIn(disk, root);
  if (identity?.uuid !== uuid) {
    throw new ExportInvalid('identity.json in the tar belongs to another log');
  }
  const fileSystems = await fileSystemsOf(disk, root);
  await writeIdentity(disk, root, { ...identity, fileSystems, writtenBy });
  return identity.epoch;
}

/** Reports faults as faults of the export: the directory that holds the file is removed. */
async function identityIn(disk: Disk, root: string): Promise<StoredIdentity | null> {
  let identity: StoredIdentity | null;
  try {
    identity = await readIdentity(disk, root);
  } catch (cause) {
    if (cause instanceof LogTooNew) throw new LogTooNew('the export', cause.writtenBy);
    if (!(cause instanceof RootRefused)) throw cause;
    throw malformed(/"\w+" is missing or malformed/.exec(cause.message)?.[0], cause);
  }
  if (identity === null) return null;
  const { epoch, created } = identity;
  if (epoch > EPOCH_MAX) throw malformed('"epoch" is missing or malformed');
  if (BigInt.asIntN(64, created) !== created) throw malformed('"created" is missing or malformed');
  return identity;
}

function malformed(why = 'it is malformed', cause?: unknown): ExportInvalid {
  return new ExportInvalid(`identity.json in the tar is unusable: ${why}`, { cause });
}
