/**
 * Which log this is: `<root>/identity.json`. It stands outside the log directory, so that a root
 * whose log was lost, or whose disk is not mounted yet, is distinguished from a new one. containerd
 * began an empty database in that case and its garbage collector removed everything
 * (containerd #3671).
 */
import { errnoOf, reasonOf } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { unixNanos, type UnixNanos } from '../../base/units.js';
import { LogTooNew, RootRefused } from '../errors.js';
import {
  compareFileSystems,
  fileSystemsOf,
  type AcceptedMove,
  type FileSystemChange,
  type RecordedDevice,
  type RecordedFileSystem,
  type RecordedFileSystems,
} from './file-systems.js';
import {
  identityPath,
  listLog,
  NO_FILE,
  replaceDurably,
  readWhole,
  snapshotEntries,
} from '../files.js';
import { FORMAT_VERSION } from '../format/layout.js';
import type { LogIdentity } from '../types.js';

export interface StoredIdentity extends LogIdentity {
  /** The device number alone in an identity of an earlier release, until a writer has opened it. */
  readonly fileSystems: RecordedFileSystems | RecordedDevice;
  /** The release that wrote this file. */
  readonly writtenBy: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A new identity; nothing is written yet. */
export function newIdentity(
  uuid: string,
  created: UnixNanos,
  fileSystems: RecordedFileSystems,
  writtenBy: string,
): StoredIdentity {
  if (!UUID.test(uuid)) throw new RangeError(`not a UUID in lower case: ${uuid}`);
  return {
    uuid,
    created,
    formatVersion: FORMAT_VERSION,
    epoch: 1,
    fileSystems,
    writtenBy,
  };
}

/**
 * Reads the identity of a root; null when it has none. For tools too: compares no file system
 * and takes no lock.
 *
 * Fails  RootRefused when the file is there but cannot be understood, LogTooNew
 */
export async function readIdentity(disk: Disk, root: string): Promise<StoredIdentity | null> {
  const bytes = await readFileOf(disk, root);
  if (bytes === null) return null;
  let fields: unknown;
  try {
    fields = JSON.parse(bytes.toString('utf8'));
  } catch (thrown) {
    throw damaged(root, reasonOf(thrown), thrown);
  }
  return parseIdentity(root, fields);
}

/** For tools that read on without an identity: null when there is none that can be used. */
export async function readIdentityIfSound(
  disk: Disk,
  root: string,
): Promise<StoredIdentity | null> {
  try {
    return await readIdentity(disk, root);
  } catch (thrown) {
    if (thrown instanceof RootRefused) return null;
    throw thrown;
  }
}

/** Ours has some hundred bytes. */
const BYTES_MAX = 64 * 1024;

async function readFileOf(disk: Disk, root: string): Promise<Buffer | null> {
  try {
    const bytes = await readWhole(disk, identityPath(root), BYTES_MAX);
    if (bytes === null || bytes.length < BYTES_MAX) return bytes;
  } catch (thrown) {
    const code = errnoOf(thrown) ?? '';
    if (NO_FILE.has(code)) throw damaged(root, 'it is not a regular file', thrown);
    throw thrown;
  }
  throw damaged(root, `it has ${BYTES_MAX} bytes or more`);
}

/** Fails with RootRefused, LogTooNew. */
export function parseIdentity(root: string, fields: unknown): StoredIdentity {
  const of = entriesOf(fields);
  if (of === null) throw damaged(root, 'it is not an object');
  if (of.has('repair')) {
    throw new RootRefused(
      root,
      'identity-damaged',
      'a repair was begun and is not finished. Run `stratalog repair` again: it goes on where it stopped',
    );
  }
  const text = (key: string, shape: RegExp): string => {
    const value = of.get(key);
    if (typeof value === 'string' && shape.test(value)) return value;
    throw damaged(root, `"${key}" is missing or malformed`);
  };
  const count = (key: string): number => {
    const value = of.get(key);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value;
    throw damaged(root, `"${key}" is missing or malformed`);
  };
  const writtenBy = text('writtenBy', /^.+$/);
  const formatVersion = count('formatVersion');
  if (formatVersion > FORMAT_VERSION) throw new LogTooNew(`the root ${root}`, writtenBy);
  return {
    uuid: text('uuid', UUID),
    created: unixNanos(BigInt(text('created', /^\d{1,19}$/))),
    formatVersion,
    epoch: count('epoch'),
    fileSystems: of.has('fileSystems')
      ? parseFileSystems(root, of.get('fileSystems'))
      : { device: text('device', DEVICE) },
    writtenBy,
  };
}

const DEVICE = /^\d{1,20}$/;

function parseFileSystems(root: string, value: unknown): RecordedFileSystems {
  const of = entriesOf(value);
  const part = (name: string): RecordedFileSystem => {
    const fields = entriesOf(of?.get(name));
    const [type, id, device] = [fields?.get('type'), fields?.get('id'), fields?.get('device')];
    const isSound =
      isText(type, /^\w{1,40}$/) &&
      (id === null || isText(id, /^[\w/-]{1,100}$/)) &&
      isText(device, DEVICE);
    if (isSound) return { type, id, device };
    throw damaged(root, `"fileSystems" is malformed at "${name}"`);
  };
  const own = (name: string) => (of?.get(name) === null ? null : part(name));
  return { root: part('root'), log: own('log'), snapshots: own('snapshots') };
}

const isText = (value: unknown, shape: RegExp): value is string =>
  typeof value === 'string' && shape.test(value);

/** Null for what is no object. */
function entriesOf(value: unknown): ReadonlyMap<string, unknown> | null {
  return typeof value === 'object' && value !== null ? new Map(Object.entries(value)) : null;
}

const damaged = (root: string, why: string, cause?: unknown): RootRefused =>
  new RootRefused(
    root,
    'identity-damaged',
    `identity.json cannot be used: ${why}. Restore it from a backup, or see docs/recovery.md`,
    { cause },
  );

/** Writes the identity so that a power cut leaves the old one or the new one. */
export async function writeIdentity(
  disk: Disk,
  root: string,
  identity: StoredIdentity,
): Promise<void> {
  const text = JSON.stringify({ ...identity, created: identity.created.toString() }, null, 2);
  await replaceDurably(disk, root, 'identity.json', Buffer.from(`${text}\n`));
}

export interface RootRules {
  /** The configuration expects an existing root. */
  readonly expectExisting: boolean;
  readonly acceptedMove: AcceptedMove;
}

export interface ExaminedRoot {
  readonly identity: StoredIdentity;
  /** How its file systems differ from those recorded; to be logged before they are recorded anew. */
  readonly changes: readonly FileSystemChange[];
  /** To be recorded from now on. */
  readonly fileSystems: RecordedFileSystems;
}

/**
 * Decides whether a root may be opened for writing; null when a new log may begin here. Writes
 * nothing.
 *
 * Fails  RootRefused with the reason, LogTooNew
 */
export async function examineRoot(
  disk: Disk,
  root: string,
  rules: RootRules,
): Promise<ExaminedRoot | null> {
  const identity = await readIdentity(disk, root);
  // First of all: where a disk is not mounted, nothing else that is found means anything.
  const verdict =
    identity === null
      ? null
      : compareFileSystems(
          identity.fileSystems,
          await fileSystemsOf(disk, root),
          rules.acceptedMove,
        );
  if (verdict?.kind === 'refused') throw fileSystemRefused(root, verdict);
  const { segments } = await listLog(disk, root);
  // There may be very many; with an identity and a log, the answer is not needed.
  const isWhole = identity !== null && segments.length > 0;
  const snapshots = isWhole ? 0 : (await snapshotEntries(disk, root)).length;
  if (identity === null || verdict === null) {
    refuseLostIdentity(root, rules, segments.length, snapshots);
    return null;
  }
  if (segments.length === 0 && snapshots > 0) {
    throw new RootRefused(
      root,
      'log-missing',
      `there are ${snapshots} entries in snapshots/ but no segment in log/. ` +
        'An empty log would make all of them garbage. Bring the log back from a backup',
    );
  }
  return { identity, changes: verdict.changes, fileSystems: verdict.now };
}

/** The refusal of a root that is not on the file systems it was on before, and what to do. */
export function fileSystemRefused(
  root: string,
  {
    reason,
    found,
  }: { readonly reason: 'file-system-changed' | 'file-system-missing'; readonly found: string },
): RootRefused {
  const remedy =
    reason === 'file-system-missing'
      ? 'Mount it: the next start then succeeds. If its content was moved into the root on purpose, '
      : 'Is the right disk mounted there? If it was moved, copied or restored on purpose, ';
  return new RootRefused(
    root,
    reason,
    `${found}. ${remedy}start once with \`serve --accept-moved-root\``,
  );
}

/**
 * A file system without a lasting id is taken for the one of before only where the directories in it
 * agree with the log.
 *
 * @param contradictionInRoot what does not agree, or null; without it nothing is known to agree
 *
 * Fails  RootRefused
 */
export async function refuseContradiction(
  root: string,
  changes: readonly FileSystemChange[],
  contradictionInRoot: (() => Promise<string | null>) | undefined,
): Promise<void> {
  const assumed = changes.find(({ how }) => how === 'assumed');
  if (assumed === undefined) return;
  const found = contradictionInRoot ? await contradictionInRoot() : 'nothing was compared with it';
  if (found === null) return;
  const { part, before, after } = assumed;
  const where = part === 'root' ? 'the root' : `${part}/`;
  throw fileSystemRefused(root, {
    reason: 'file-system-changed',
    found:
      `the device number of ${where} has changed from ${before?.device ?? 'none'} to ` +
      `${after?.device ?? 'none'}, its file system has no id that would tell whether it is the ` +
      `same, and the log does not agree with what is in it: ${found}`,
  });
}

/** What is wrong with a root whose log has no segment; null when it was never used. */
export async function logMissing(disk: Disk, root: string): Promise<string | null> {
  const { length } = await snapshotEntries(disk, root);
  return length === 0 ? null : `there are ${length} entries in snapshots/ but no segment in log/`;
}

function refuseLostIdentity(
  root: string,
  rules: RootRules,
  segments: number,
  snapshots: number,
): void {
  if (segments > 0 || snapshots > 0) {
    throw new RootRefused(
      root,
      'log-missing',
      `identity.json is missing, but there are ${segments} segments in log/ and ${snapshots} ` +
        'entries in snapshots/. This is not a new root: bring identity.json back from a backup, ' +
        'or choose an empty root',
    );
  }
  if (rules.expectExisting) {
    throw new RootRefused(
      root,
      'not-initialised',
      'identity.json is missing, and so is the log: nothing was kept here yet. ' +
        'If the root was used before, is its disk mounted?',
    );
  }
}
