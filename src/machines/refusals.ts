/**
 * The closed list of refusals: expected answers to impossible requests. Each has the errdefs
 * class that containerd understands (containerd/errdefs, errgrpc) and a sentence that says what
 * was asked, what was found and, where there is something to do, what.
 */
import { assertNever } from '../base/assert.js';
import type { SnapshotId } from '../base/units.js';
import { processInWords, type Keeper, type Maker } from './client-identity.js';

/** The errdefs classes that a client may receive. */
export type ErrorClass =
  'InvalidArgument' | 'NotFound' | 'AlreadyExists' | 'FailedPrecondition' | 'Unavailable';

const REFUSAL_CLASSES = {
  InvalidName: 'InvalidArgument',
  InvalidLabel: 'InvalidArgument',
  InvalidMapping: 'InvalidArgument',
  InvalidFieldPath: 'InvalidArgument',
  InvalidFilter: 'InvalidArgument',
  SnapshotUnknown: 'NotFound',
  NameInUse: 'AlreadyExists',
  ParentUnknown: 'NotFound',
  ParentNotCommitted: 'InvalidArgument',
  RebaseParentNotCommitted: 'FailedPrecondition',
  ParentDiffers: 'InvalidArgument',
  NotActive: 'FailedPrecondition',
  NotMountable: 'FailedPrecondition',
  HasChildren: 'FailedPrecondition',
  Unverified: 'FailedPrecondition',
  DirectoryOwned: 'FailedPrecondition',
  DirectoryUnknown: 'NotFound',
  KeptFromCaller: 'FailedPrecondition',
  CommitInProgress: 'Unavailable',
  IdsNotMappable: 'FailedPrecondition',
  MappedOtherwise: 'FailedPrecondition',
  LayerNotAvailable: 'Unavailable',
  LayerNotVisible: 'Unavailable',
  TargetReady: 'AlreadyExists',
  Superseded: 'Unavailable',
} as const satisfies Readonly<Record<string, ErrorClass>>;

export type RefusalName = keyof typeof REFUSAL_CLASSES;

export interface Refusal {
  readonly name: RefusalName;
  readonly message: string;
}

/** A refusal that an effect found, thrown. */
export class Refused extends Error {
  override readonly name = 'Refused';

  constructor(
    readonly refusal: Refusal,
    options?: ErrorOptions,
  ) {
    super(refusal.message, options);
  }
}

export function classOf(refusal: Refusal): ErrorClass {
  return REFUSAL_CLASSES[refusal.name];
}

const refusal = (name: RefusalName, message: string): Refusal => ({ name, message });

/**
 * Longest piece of a client's text that is repeated back. A status message travels in HTTP/2
 * headers, which have a limit of their own.
 */
const QUOTED_LENGTH_MAX = 256;

/** A client's text, quoted so that its end cannot be mistaken for the class of our error. */
function quote(text: string): string {
  const shown =
    text.length <= QUOTED_LENGTH_MAX
      ? text
      : `${text.slice(0, QUOTED_LENGTH_MAX)}… (${text.length} characters)`;
  return JSON.stringify(shown);
}

/** What keeps a snapshot from a client, and what to do about it. */
export function keeperInWords(keeper: Keeper): string {
  const maker = processInWords(keeper.maker);
  switch (keeper.kind) {
    case 'maker':
      return `${maker} made it and still runs; ${ONE_CLIENT_EACH}`;
    case 'successor':
      return `${maker} made it, and runs again as process ${keeper.pid}; ${ONE_CLIENT_EACH}`;
    case 'mount':
      return `${maker} made it and has ended, but it is mounted on ${quote(keeper.mountpoint)}; unmount it first`;
    case 'unknown':
      return `whether ${maker}, which made it, still runs is unknown: ${quote(keeper.reason)}; try again`;
    default:
      return assertNever(keeper);
  }
}

/** What an operator does about two clients on one socket. */
export const ONE_CLIENT_EACH =
  'give each containerd a Stratalog with an address and a root of its own, or stop the one that does not belong here';

// The class's own words end a message, as in Go: containerd cuts them off again when it decodes.
export const refusals = {
  snapshotUnknown: (name: string) =>
    refusal('SnapshotUnknown', `snapshot ${quote(name)} does not exist: not found`),
  nameInUse: (name: string) =>
    refusal('NameInUse', `a snapshot named ${quote(name)} is there: already exists`),
  parentUnknown: (parent: string) =>
    refusal('ParentUnknown', `parent ${quote(parent)} does not exist: not found`),
  parentNotCommitted: (parent: string, kind: string) =>
    refusal(
      'ParentNotCommitted',
      `parent ${quote(parent)} is ${kind}; only a committed snapshot can be a parent: invalid argument`,
    ),
  rebaseParentNotCommitted: (parent: string, kind: string) =>
    refusal(
      'RebaseParentNotCommitted',
      `parent ${quote(parent)} is ${kind}, not committed: failed precondition`,
    ),
  parentDiffers: (key: string, has: string, given: string) =>
    refusal(
      'ParentDiffers',
      `snapshot ${quote(key)} has parent ${quote(has)}, not ${quote(given)}: invalid argument`,
    ),
  notActive: (key: string, kind: string) =>
    refusal(
      'NotActive',
      `snapshot ${quote(key)} is ${kind}; only an active one can be committed: failed precondition`,
    ),
  notMountable: (name: string) =>
    refusal(
      'NotMountable',
      `snapshot ${quote(name)} is committed and has no mounts; make a view of it: failed precondition`,
    ),
  // The word "remove" is asserted by containerd's own test suite.
  hasChildren: (name: string, children: number) =>
    refusal(
      'HasChildren',
      `cannot remove snapshot ${quote(name)}: ${children} other(s) stand on it: failed precondition`,
    ),
  unverified: (name: string, id: SnapshotId) =>
    refusal(
      'Unverified',
      `cannot remove snapshot ${quote(name)}: it was salvaged from directory ${id} and is kept until ` +
        `it is released with stratalog repair --release ${id}: failed precondition`,
    ),
  directoryOwned: (name: string, owner: string) =>
    refusal(
      'DirectoryOwned',
      `cannot delete directory ${quote(name)}: it belongs to ${owner}: failed precondition`,
    ),
  directoryUnknown: (name: string) =>
    refusal('DirectoryUnknown', `directory ${quote(name)} does not exist: not found`),
  // For Remove, the word "remove" is asserted by containerd's own test suite here too.
  keptFromCaller: (verb: string, name: string, keeper: Keeper, caller: Maker | null) => {
    const client = caller === null ? 'this client' : processInWords(caller);
    const what = `${client} cannot ${verb} snapshot ${quote(name)}`;
    return refusal('KeptFromCaller', `${what}: ${keeperInWords(keeper)}: failed precondition`);
  },
  commitInProgress: (key: string) =>
    refusal(
      'CommitInProgress',
      `snapshot ${quote(key)} is being committed; ask again: unavailable`,
    ),
  layerNotAvailable: (name: string, id: SnapshotId, reason: string) =>
    refusal(
      'LayerNotAvailable',
      `layer ${quote(name)} (snapshot ${id}) cannot be used: ${quote(reason)}: unavailable`,
    ),
  layerNotVisible: (name: string, id: SnapshotId, reason: string) =>
    refusal(
      'LayerNotVisible',
      `layer ${quote(name)} (snapshot ${id}) cannot be used by this client: ${reason}: unavailable`,
    ),
  targetReady: (ref: string, name: string) =>
    refusal(
      'TargetReady',
      `target snapshot ${quote(ref)} is ready as ${quote(name)}: already exists`,
    ),
  invalidName: (what: string) => refusal('InvalidName', `${what}: invalid argument`),
  invalidLabel: (key: string, bytesMax: number) =>
    refusal(
      'InvalidLabel',
      `label ${quote(key)}: key and value together are over ${bytesMax} bytes: invalid argument`,
    ),
  tooManyLabels: (bytesMax: number) =>
    refusal('InvalidLabel', `all labels together are over ${bytesMax} bytes: invalid argument`),
  invalidMapping: (label: string, why: string) =>
    refusal('InvalidMapping', `label ${quote(label)}: ${why}: invalid argument`),
  cannotMapIds: (reason: string) =>
    refusal(
      'IdsNotMappable',
      `cannot mount the layers with mapped ids for a user namespace: ${reason}; without the ` +
        'capability "remap-ids" of this proxy plugin, containerd makes a chowned copy of the image ' +
        'instead: failed precondition',
    ),
  mappedOtherwise: (name: string, id: SnapshotId) =>
    refusal(
      'MappedOtherwise',
      `layer ${quote(name)} (snapshot ${id}) was written with other id mappings than those of the ` +
        'request; use the same mappings, or an image without that layer: failed precondition',
    ),
  invalidFieldPath: (path: string) =>
    refusal(
      'InvalidFieldPath',
      `cannot update ${quote(path)}; only labels can change: invalid argument`,
    ),
  invalidFilter: (filter: string, why: string) =>
    refusal('InvalidFilter', `filter ${quote(filter)}: ${why}: invalid argument`),
  superseded: (what: string) =>
    refusal('Superseded', `${what} was overtaken by another request; ask again: unavailable`),
} as const;
