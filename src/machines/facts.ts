/**
 * What is known of one snapshot, and how each event changes it. Pure and total over the events:
 * whether an event may happen at all is the statechart's business, not this file's.
 */
import { assert, assertNever } from '../base/assert.js';
import type { FileOwner } from '../base/ports.js';
import type {
  Labels,
  SnapshotId,
  SnapshotName,
  StreamVersion,
  UnixNanos,
  Usage,
} from '../base/units.js';
import type {
  ParentLink,
  RemoteQuestion,
  SnapshotEvent,
  SnapshotEventOf,
} from './events/events.js';
import { makesChownedCopy, type IdMapping } from './id-mapping.js';
import { NO_LABELS } from './labels.js';
import { makerOf, type Maker } from './client-identity.js';

/** An event together with what its record adds: when, and the how-manieth of its stream. */
export interface Recorded<Event = SnapshotEvent> {
  readonly event: Event;
  readonly time: UnixNanos;
  readonly streamVersion: StreamVersion;
}

export interface RemoteLayer {
  readonly ref: string;
  /** The one that has mounted it; until then, the first that is asked. */
  readonly fileSystem: string;
  /** The labels it was mounted with: a restore needs them whatever Update has made of the labels. */
  readonly mountLabels: Labels;
}

export interface PendingCommit {
  readonly name: SnapshotName;
  readonly labels: Labels;
  readonly parent: ParentLink | null;
}

export interface Unavailability {
  readonly reason: string;
  readonly attempts: number;
  readonly retryAt: string | null;
}

export interface Removal {
  /**
   * `removed` by a client, or `abandoned` by the process that prepared it: a fact. `inferred`:
   * concluded after a crash, so its directory is deleted only if it is unused.
   */
  readonly because: 'removed' | 'abandoned' | 'inferred';
  /** Why the newest attempt to delete its directory failed; null before one did. */
  readonly failure: RemovalFailure | null;
}

export interface RemovalFailure {
  readonly path: string;
  /** The errno, or the name of the error. */
  readonly code: string;
  readonly reason: string;
  readonly since: UnixNanos;
}

export interface SnapshotFacts {
  readonly id: SnapshotId;
  /** What it was prepared as; a committed one was always active before. */
  readonly preparedAs: 'active' | 'view';
  /** The key while active or a view, the name once committed. */
  readonly name: SnapshotName;
  readonly parent: ParentLink | null;
  readonly labels: Labels;
  /** Null for what was made through the library, or salvaged by a repair. */
  readonly maker: Maker | null;
  /** The remote layer that may serve instead, as Prepare asked for it. */
  readonly question: RemoteQuestion | null;
  /** Ids of the user namespace that it was prepared for. */
  readonly idMapping: IdMapping | null;
  readonly remote: RemoteLayer | null;
  readonly commit: PendingCommit | null;
  readonly usage: Usage | null;
  /** Of the layer's root directory; null before it is committed. */
  readonly owner: FileOwner | null;
  /** The client has chowned the layers below in it; see `makesChownedCopy`. */
  readonly isChownedCopy: boolean;
  readonly unavailability: Unavailability | null;
  /** Null until its removal is decided. */
  readonly removal: Removal | null;
  readonly createdAt: UnixNanos;
  readonly updatedAt: UnixNanos;
  readonly streamVersion: StreamVersion;
}

/** The file system that is asked first for a remote layer; null when none is asked. */
export function firstAsked(question: RemoteQuestion | null): string | null {
  if (question === null || 'declined' in question) return null;
  return question.fileSystems[0] ?? null;
}

/** The usual owner: one object for all states. */
export const ROOT_OWNER: FileOwner = { uid: 0, gid: 0 };

export function ownerFact({ uid, gid }: FileOwner): FileOwner {
  return uid === 0 && gid === 0 ? ROOT_OWNER : { uid, gid };
}

/** The facts after an event. `facts` is null only before the first of a stream. */
export function evolve(facts: SnapshotFacts | null, recorded: Recorded): SnapshotFacts {
  const { event, streamVersion } = recorded;
  if (event.type === 'SnapshotPreparing') return begin({ ...recorded, event });
  if (event.type === 'SnapshotSalvaged') return salvage({ ...recorded, event });
  assert(facts !== null, 'an event without a snapshot', () => event.type);
  return { ...facts, streamVersion, ...changesBy(facts, event, recorded.time) };
}

function begin(recorded: Recorded<SnapshotEventOf<'SnapshotPreparing'>>): SnapshotFacts {
  const { data } = recorded.event;
  return {
    id: data.id,
    preparedAs: data.kind,
    name: data.key,
    parent: data.parent,
    labels: data.labels.size === 0 ? NO_LABELS : data.labels,
    maker: makerOf(data.caller),
    question: data.remote,
    idMapping: data.idMapping,
    remote: null,
    commit: null,
    usage: null,
    owner: null,
    isChownedCopy: false,
    unavailability: null,
    removal: null,
    createdAt: recorded.time,
    updatedAt: recorded.time,
    streamVersion: recorded.streamVersion,
  };
}

/** No parent: which one it stood on is lost, and none is invented. */
function salvage(recorded: Recorded<SnapshotEventOf<'SnapshotSalvaged'>>): SnapshotFacts {
  const { id, name, labels, usage, owner } = recorded.event.data;
  return {
    id,
    preparedAs: 'active',
    name,
    parent: null,
    labels,
    maker: null,
    question: null,
    idMapping: null,
    remote: null,
    commit: null,
    usage,
    owner: ownerFact(owner),
    isChownedCopy: false,
    unavailability: null,
    removal: null,
    createdAt: recorded.time,
    updatedAt: recorded.time,
    streamVersion: recorded.streamVersion,
  };
}

function askedFor({ question, labels }: SnapshotFacts): RemoteLayer {
  const fileSystem = firstAsked(question);
  assert(question !== null && fileSystem !== null, 'a mount answers a remote question');
  return { ref: question.ref, fileSystem, mountLabels: labels };
}

type LaterEvent = Exclude<SnapshotEvent, { type: 'SnapshotPreparing' | 'SnapshotSalvaged' }>;

function changesBy(
  facts: SnapshotFacts,
  event: LaterEvent,
  time: UnixNanos,
): Partial<SnapshotFacts> {
  switch (event.type) {
    case 'RemoteMountStarted':
      return { remote: askedFor(facts) };
    case 'RemoteMounted':
      assert(facts.remote !== null, 'a layer that was mounted was asked for');
      return { remote: { ...facts.remote, fileSystem: event.data.fileSystem } };
    case 'RemoteMountFailed':
      return { remote: null };
    case 'SnapshotCommitting': {
      // Field by field: a checkpoint keeps these three, and a replay must not know more than it.
      const { name, labels, parent } = event.data;
      return { commit: { name, labels, parent } };
    }
    case 'SnapshotCommitFailed':
      return { commit: null };
    case 'SnapshotCommitted':
      // Commit replaces labels and both times (containerd, storage.CommitActive).
      return {
        name: event.data.name,
        labels: event.data.labels,
        parent: event.data.parent,
        usage: event.data.usage,
        owner: ownerFact(event.data.owner),
        isChownedCopy: makesChownedCopy(facts.name, event.data.name),
        commit: null,
        createdAt: time,
        updatedAt: time,
      };
    case 'LabelsUpdated':
      return { labels: event.data.labels, updatedAt: time };
    case 'LayerUnavailable':
      return { unavailability: event.data };
    case 'LayerAvailable':
      return { unavailability: null };
    case 'SnapshotRemoving':
      return { removal: { because: 'removed', failure: null } };
    case 'SnapshotAbandoned': {
      const because = event.data.inferred ? 'inferred' : 'abandoned';
      return { removal: { because, failure: null } };
    }
    case 'SnapshotRemovalFailed': {
      assert(facts.removal !== null, 'a removal that failed was decided before');
      const { path, code, reason } = event.data;
      return { removal: { ...facts.removal, failure: { path, code, reason, since: time } } };
    }
    case 'IdMappingStarted':
    case 'SnapshotPrepared':
    case 'SnapshotCollecting':
    case 'SnapshotRemoved':
      return {};
    default:
      return assertNever(event);
  }
}
