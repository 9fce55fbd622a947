/**
 * Which file systems a root is on: what `identity.json` records of them, and what a difference
 * means. `log/` and `snapshots/` may be mounts of their own, and then count by themselves.
 *
 * A lasting id decides where both sides have one. A device number alone decides nothing: it is
 * assigned at mount time.
 */
import { errnoOf } from '../../base/errors.js';
import type { Disk, FileSystemFacts } from '../../base/ports.js';
import { logDirectory, snapshotsDirectory } from '../files.js';

export interface RecordedFileSystem {
  readonly type: string;
  /** See FileSystemFacts. */
  readonly id: string | null;
  /** Device number when it was recorded, in decimal. */
  readonly device: string;
}

export interface RecordedFileSystems {
  readonly root: RecordedFileSystem;
  /** Null where it is an ordinary directory on the root's file system. */
  readonly log: RecordedFileSystem | null;
  readonly snapshots: RecordedFileSystem | null;
}

/** All that an identity of before holds: the device number of the root. */
export interface RecordedDevice {
  readonly device: string;
}

export type RootPart = keyof RecordedFileSystems;

export interface FileSystemChange {
  readonly part: RootPart;
  /**
   * `same-id`: only the device number is another one. `assumed`: nothing but the device number
   * tells, so log and directories must agree. `accepted`: the operator said so.
   */
  readonly how: 'same-id' | 'assumed' | 'accepted';
  /** Null: it was, or is, an ordinary directory on the root's file system. */
  readonly before: RecordedFileSystem | null;
  readonly after: RecordedFileSystem | null;
}

/** What a root may be on although it was recorded to be on something else. */
export type AcceptedMove =
  | 'none'
  /** A root that was copied as a whole: for tools that only look. */
  | 'copy'
  | 'any';

export type FileSystemsCheck =
  | {
      readonly kind: 'accepted';
      readonly changes: readonly FileSystemChange[];
      /** To be recorded from now on. */
      readonly now: RecordedFileSystems;
    }
  | {
      readonly kind: 'refused';
      readonly reason: 'file-system-changed' | 'file-system-missing';
      readonly found: string;
    };

/** Looks at the root and at its two directories. Fails with HostFault. */
export async function fileSystemsOf(disk: Disk, root: string): Promise<RecordedFileSystems> {
  const facts = await disk.fileSystem(root);
  const part = async (directory: string): Promise<RecordedFileSystem | null> => {
    const own = await factsOrAbsent(disk, directory);
    const isOrdinary =
      own === null ||
      (own.mountId === facts.mountId && own.device === facts.device && own.id === facts.id);
    return isOrdinary ? null : recordOf(own);
  };
  return {
    root: recordOf(facts),
    log: await part(logDirectory(root)),
    snapshots: await part(snapshotsDirectory(root)),
  };
}

async function factsOrAbsent(disk: Disk, directory: string): Promise<FileSystemFacts | null> {
  try {
    return await disk.fileSystem(directory);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return null;
    throw thrown;
  }
}

const recordOf = ({ type, id, device }: FileSystemFacts): RecordedFileSystem => ({
  type,
  id,
  device: device.toString(),
});

/** Compares the recorded file systems with the current ones. Pure. */
export function compareFileSystems(
  recorded: RecordedFileSystems | RecordedDevice,
  found: RecordedFileSystems,
  accepted: AcceptedMove,
): FileSystemsCheck {
  if ('device' in recorded) return compareDevice(recorded.device, found, accepted);
  const root = comparePart('root', recorded.root, found.root);
  const accepts = accepted === 'any' || (accepted === 'copy' && root.kind === 'refused');
  const changes: FileSystemChange[] = [];
  const now: { -readonly [Part in RootPart]: RecordedFileSystems[Part] } = { ...found };
  for (const part of ['root', 'log', 'snapshots'] as const) {
    const [before, after] = [recorded[part], found[part]];
    const verdict = part === 'root' ? root : comparePart(part, before, after);
    if (verdict.kind === 'refused' && !accepts) return verdict;
    // The same device without an id that could be read: the id that is recorded stays.
    if (verdict.kind === 'same' && before?.id != null) now[part] = before;
    if (verdict.kind === 'same') continue;
    const isProven = verdict.kind === 'changed' && verdict.how === 'same-id';
    const how = isProven ? 'same-id' : accepts ? 'accepted' : 'assumed';
    changes.push({ part, how, before, after });
  }
  return { kind: 'accepted', changes, now };
}

type PartCheck =
  | { readonly kind: 'same' }
  | { readonly kind: 'changed'; readonly how: 'same-id' | 'assumed' }
  | Extract<FileSystemsCheck, { kind: 'refused' }>;

function comparePart(
  part: RootPart,
  before: RecordedFileSystem | null,
  after: RecordedFileSystem | null,
): PartCheck {
  const what = part === 'root' ? 'the root' : `${part}/`;
  if (before === null || after === null) return compareMount(what, before, after);
  const isOther = changed(`${what} was on ${described(before)} and is now on ${described(after)}`);
  const isSameDevice = before.type === after.type && before.device === after.device;
  if (before.id !== null && after.id !== null) {
    if (before.id !== after.id) return isOther;
    return isSameDevice ? { kind: 'same' } : { kind: 'changed', how: 'same-id' };
  }
  if (isSameDevice) return { kind: 'same' };
  // Where an id was recorded, only that id proves anything.
  if (before.id !== null || before.type !== after.type) return isOther;
  return { kind: 'changed', how: 'assumed' };
}

/** At least one of both is an ordinary directory of the root's file system. */
function compareMount(
  what: string,
  before: RecordedFileSystem | null,
  after: RecordedFileSystem | null,
): PartCheck {
  if (after !== null) {
    return changed(
      `${what} was a directory on the root's file system, and ${described(after)} is now mounted there`,
    );
  }
  if (before === null) return { kind: 'same' };
  const found = `${what} was a mount of ${described(before)}, and nothing is mounted there now`;
  return { kind: 'refused', reason: 'file-system-missing', found };
}

const changed = (found: string): PartCheck => ({
  kind: 'refused',
  reason: 'file-system-changed',
  found,
});

/** Nothing but the number can be compared, so another number is another file system. */
function compareDevice(
  device: string,
  found: RecordedFileSystems,
  accepted: AcceptedMove,
): FileSystemsCheck {
  if (device === found.root.device) return { kind: 'accepted', changes: [], now: found };
  const before = { type: 'unknown', id: null, device };
  if (accepted !== 'none') {
    const change: FileSystemChange = { part: 'root', how: 'accepted', before, after: found.root };
    return { kind: 'accepted', changes: [change], now: found };
  }
  return {
    kind: 'refused',
    reason: 'file-system-changed',
    found:
      `the root was on device ${device} and is now on ${described(found.root)}; identity.json is of ` +
      'an earlier release, which recorded the device number alone',
  };
}

const described = ({ type, id, device }: RecordedFileSystem): string =>
  `${type} ${id ?? 'without an id'} (device ${device})`;
