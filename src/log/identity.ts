/**
 * Which log this is: `<root>/identity.json`. It stands outside the log directory, so that a root
 * whose log was lost, or whose disk is not mounted yet, is told apart from a new one. containerd
 * began an empty database in that case and its garbage collector removed everything
 * (containerd #3671).
 */
import { errnoOf, reasonOf } from '../base/errors.js';
import type { Disk } from '../base/ports.js';
import { unixNanos, type UnixNanos } from '../base/units.js';
import { LogTooNew, RootRefused } from './errors.js';
import {
  identityPath,
  listLog,
  listOrEmpty,
  NO_FILE,
  replaceDurably,
  readWhole,
  snapshotsDirectory,
} from './files.js';
import { FORMAT_VERSION } from './format.js';
import type { LogIdentity } from './types.js';

export interface StoredIdentity extends LogIdentity {
  /** Device number of the root when the identity was written, in decimal. */
  readonly device: string;
  /** The release that wrote this file. */
  readonly writtenBy: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A new identity; nothing is written yet. */
export function newIdentity(
  uuid: string,
  created: UnixNanos,
  device: bigint,
  writtenBy: string,
): StoredIdentity {
  if (!UUID.test(uuid)) throw new RangeError(`not a UUID in lower case: ${uuid}`);
  return {
    uuid,
    created,
    formatVersion: FORMAT_VERSION,
    epoch: 1,
    device: device.toString(),
    writtenBy,
  };
}

/**
 * Reads the identity of a root; null when it has none. For tools too: checks no device and
 * takes no lock.
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

/** Ours has 250 bytes. */
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

function parseIdentity(root: string, fields: unknown): StoredIdentity {
  if (typeof fields !== 'object' || fields === null) throw damaged(root, 'it is not an object');
  const of = new Map<string, unknown>(Object.entries(fields));
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
    device: text('device', /^\d{1,20}$/),
    writtenBy,
  };
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
  /** The configuration says that this root was used before. */
  readonly expectExisting: boolean;
  /** The operator has confirmed that the root is meant to be on another device now. */
  readonly acceptMovedRoot: boolean;
}

/**
 * Decides whether a root may be opened for writing; answers its identity, or null when a new
 * log may begin here. Writes nothing.
 *
 * Fails  RootRefused with the reason, LogTooNew
 */
export async function examineRoot(
  disk: Disk,
  root: string,
  rules: RootRules,
): Promise<StoredIdentity | null> {
  const identity = await readIdentity(disk, root);
  const { segments } = await listLog(disk, root);
  // There may be very many, and where identity and log are there nobody asks.
  const isWhole = identity !== null && segments.length > 0;
  const snapshots = isWhole ? 0 : (await listOrEmpty(disk, snapshotsDirectory(root))).length;
  if (identity === null) {
    refuseLostIdentity(root, rules, segments.length, snapshots);
    return null;
  }
  const device = (await disk.stat(root)).device.toString();
  if (device !== identity.device && !rules.acceptMovedRoot) {
    throw new RootRefused(
      root,
      'device-changed',
      `this root was made on device ${identity.device} and is now on device ${device}. ` +
        'Is its disk mounted? If the move is meant, start once with `serve --accept-moved-root`',
    );
  }
  if (segments.length === 0 && snapshots > 0) {
    throw new RootRefused(
      root,
      'log-missing',
      `there are ${snapshots} entries in snapshots/ but no segment in log/. ` +
        'An empty log would make all of them garbage. Bring the log back from a backup',
    );
  }
  return identity;
}

/** What is wrong with a root whose log has no segment; null when it was never used. */
export async function logMissing(disk: Disk, root: string): Promise<string | null> {
  const { length } = await listOrEmpty(disk, snapshotsDirectory(root));
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
