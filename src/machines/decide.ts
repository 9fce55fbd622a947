/**
 * What a command leads to: events, or a refusal. Pure and total: every status and command has an
 * answer, and test/golden/decisions.md shows them all.
 *
 * Whether an event may happen in a status is asked of the statechart; this file adds what the
 * chart cannot know: the rules between snapshots, and the order in which containerd expects
 * faults to be noticed (reference: core/snapshots/storage/bolt.go).
 */
import { assert, assertNever } from '../base/assert.js';
import { ok, refuse, type Result } from '../base/result.js';
import { snapshotName, type Labels, type SnapshotName } from '../base/units.js';
import { accepts, metaOf, type Status } from './transition-table.js';
import type { Command, CommandOf } from './commands.js';
import type { ParentLink, RemoteQuestion, SnapshotEvent } from './events/events.js';
import type { SnapshotState } from './fold.js';
import type { Forest } from './snapshots/forest.js';
import { requestedMaps, type IdMapping } from './id-mapping.js';
import { decideIdMapping, needsIdmappedMounts } from './idmapped-layers.js';
import { updatedLabels } from './label-update.js';
import {
  areTooMany,
  LABEL_BYTES_MAX,
  LABELS_BYTES_MAX,
  oversizedLabel,
  PARENT_CHAIN_LABEL,
  storedLabels,
  TARGET_LABEL,
  UNVERIFIED_LABEL,
  utf8Length,
} from './labels.js';
import { makerOf } from './client-identity.js';
import { firstAsked } from './facts.js';
import { refusals, type Refusal } from './refusals.js';

export type Decision = Result<readonly SnapshotEvent[], Refusal>;

/**
 * Decides a command about one snapshot. `state` is the holder of the name that the command is
 * about (for outcomes: the snapshot itself), or null if the name is free.
 */
export function decide(forest: Forest, state: SnapshotState | null, command: Command): Decision {
  switch (command.command) {
    case 'Prepare':
      return decidePrepare(forest, state, command);
    case 'Commit':
      return decideCommit(forest, state, command);
    case 'UpdateLabels':
      return decideUpdateLabels(state, command);
    case 'Remove':
      return decideRemove(forest, state, command);
    case 'DirectoriesReady':
      return outcome(
        state,
        afterDirectories(state?.question ?? null, needsMappedLayers(forest, state)),
      );
    case 'DirectoriesFailed': {
      const { reason, fault } = command;
      return outcome(state, [
        { type: 'SnapshotAbandoned', data: { reason, fault, inferred: false } },
      ]);
    }
    case 'IdsMapped':
      return state?.status === 'mappingIds'
        ? ok([{ type: 'SnapshotPrepared', data: {} }])
        : overtaken(state);
    case 'RemoteReady':
      return decideRemoteReady(forest, state, command);
    case 'RemoteFailed':
      return outcome(state, [{ type: 'RemoteMountFailed', data: { reason: command.reason } }]);
    case 'DataReady':
      return decideDataReady(state, command);
    case 'DataFailed': {
      const { reason, fault } = command;
      return outcome(state, [{ type: 'SnapshotCommitFailed', data: { reason, fault } }]);
    }
    case 'LayerLost':
      return decideLayerLost(state, command);
    case 'LayerFound':
      return outcome(state, [{ type: 'LayerAvailable', data: { how: command.how } }]);
    case 'Collect':
      return outcome(state, [{ type: 'SnapshotCollecting', data: {} }]);
    case 'DirectoriesGone':
      return outcome(state, [{ type: 'SnapshotRemoved', data: {} }]);
    case 'RemovalFailed':
      return decideRemovalFailed(state, command);
    case 'Recover':
      return ok(recoveryOf(state));
    default:
      return assertNever(command);
  }
}

/** The chain id that Prepare may answer from the remote file system, or null. */
export function targetOf(command: CommandOf<'Prepare'>): string | null {
  if (command.kind !== 'active') return null;
  const ref = command.labels.get(TARGET_LABEL);
  if (ref === undefined || ref === '') return null;
  // What is prepared for a user namespace is a container's, and no layer is unpacked into it.
  const maps = requestedMaps(command.key, command.labels);
  if (!maps.ok || maps.value !== null) return null;
  // A parallel unpack names the parent only at Commit. A layer committed here would stay
  // parentless for ever (containerd #13264), so it is left to the ordinary way.
  const parentIsPromised = command.parent === null && command.labels.has(PARENT_CHAIN_LABEL);
  return parentIsPromised ? null : ref;
}

/** Longest key or name, in bytes of UTF-8: what upstream's bolt store can hold as a key. */
const NAME_BYTES_MAX = 32_768;

function decidePrepare(
  forest: Forest,
  holder: SnapshotState | null,
  command: CommandOf<'Prepare'>,
): Decision {
  const malformed = malformedName('key', command.key) ?? malformedLabels(command.labels);
  if (malformed !== null) return refuse(malformed);
  const parent = committedParent(forest, command.parent, refusals.parentNotCommitted);
  if (!parent.ok) return parent;
  if (!accepts(statusOf(holder), 'SnapshotPreparing')) {
    return refuse(nameInUse(command.key, command));
  }
  const idMapping = idMappingOf(forest, parent.value, command);
  if (!idMapping.ok) return idMapping;
  const target = targetOf(command);
  const ready = target === null ? undefined : forest.remoteFor(target, parent.value?.id ?? null);
  const isWithheld = command.withholdsReady === true;
  if (target !== null && ready?.status === 'committed.available' && !isWithheld) {
    return refuse(refusals.targetReady(target, ready.name));
  }
  const { preallocated } = command;
  assert(
    preallocated === undefined || forest.isPreallocated(preallocated),
    'preallocated directory id is reserved',
    () => String(preallocated),
  );
  assert(
    preallocated === undefined || idMapping.value === null,
    'a preallocated directory belongs to the process',
  );
  const remote = target === null ? null : questionOf(target, command);
  return ok([
    {
      type: 'SnapshotPreparing',
      data: {
        id: preallocated ?? forest.nextId,
        kind: command.kind,
        key: command.key,
        parent: parent.value,
        labels: storedLabels(command.labels),
        remote,
        idMapping: idMapping.value,
        caller: command.caller,
      },
    },
    ...(preallocated === undefined ? [] : afterDirectories(remote, false)),
  ]);
}

function questionOf(
  ref: string,
  { fileSystems = [], declined = null }: CommandOf<'Prepare'>,
): RemoteQuestion {
  return declined === null ? { ref, fileSystems: [...fileSystems] } : { ref, declined };
}

function idMappingOf(
  forest: Forest,
  parent: ParentLink | null,
  { key, labels, whyNoIdMapping }: CommandOf<'Prepare'>,
): Result<IdMapping | null, Refusal> {
  const maps = requestedMaps(key, labels);
  if (!maps.ok || maps.value === null) return maps.ok ? ok(null) : maps;
  return decideIdMapping(forest, parent, maps.value, whyNoIdMapping ?? null);
}

function decideCommit(
  forest: Forest,
  state: SnapshotState | null,
  command: CommandOf<'Commit'>,
): Decision {
  const malformed =
    malformedName('key', command.key) ??
    malformedName('name', command.name) ??
    malformedLabels(command.labels);
  if (malformed !== null) return refuse(malformed);
  if (!isShownAs(command.key, state)) return refuse(refusals.snapshotUnknown(command.key));
  const kept = keptFromCaller('commit', command.key, command);
  if (kept !== null) return refuse(kept);
  if (forest.holderOf(command.name) !== undefined) {
    return refuse(nameInUse(command.name, command));
  }
  if (!accepts(state.status, 'SnapshotCommitting')) {
    return refuse(
      state.status === 'committing'
        ? refusals.commitInProgress(command.key)
        : refusals.notActive(command.key, kindOf(state)),
    );
  }
  const parent = parentOfCommit(forest, state, command);
  if (!parent.ok) return parent;
  return ok([
    {
      type: 'SnapshotCommitting',
      data: {
        name: command.name,
        labels: storedLabels(command.labels),
        parent: parent.value,
        caller: command.caller,
      },
    },
  ]);
}

/** Rules of Commit.parent (containerd, storage.CommitActive since 2.2). */
function parentOfCommit(
  forest: Forest,
  state: SnapshotState,
  command: CommandOf<'Commit'>,
): Result<ParentLink | null, Refusal> {
  if (command.parent === null || command.parent === state.parent?.name) return ok(state.parent);
  if (state.parent !== null) {
    return refuse(refusals.parentDiffers(command.key, state.parent.name, command.parent));
  }
  return committedParent(forest, command.parent, refusals.rebaseParentNotCommitted);
}

function decideUpdateLabels(
  state: SnapshotState | null,
  command: CommandOf<'UpdateLabels'>,
): Decision {
  const malformed = malformedName('name', command.name);
  if (malformed !== null) return refuse(malformed);
  if (!isShownAs(command.name, state)) return refuse(refusals.snapshotUnknown(command.name));
  const kept = keptFromCaller('update', command.name, command);
  if (kept !== null) return refuse(kept);
  assert(accepts(state.status, 'LabelsUpdated'), 'a shown snapshot takes labels');
  const labels = updatedLabels(state.labels, command.labels, command.paths);
  if (!labels.ok) return labels;
  const malformedResult = malformedLabels(labels.value);
  if (malformedResult !== null) return refuse(malformedResult);
  return ok([
    {
      type: 'LabelsUpdated',
      data: { labels: storedLabels(labels.value), caller: command.caller },
    },
  ]);
}

function decideRemove(
  forest: Forest,
  state: SnapshotState | null,
  command: CommandOf<'Remove'>,
): Decision {
  const malformed = malformedName('key', command.name);
  if (malformed !== null) return refuse(malformed);
  if (!isShownAs(command.name, state)) return refuse(refusals.snapshotUnknown(command.name));
  const kept = keptFromCaller('remove', command.name, command);
  if (kept !== null) return refuse(kept);
  if (state.labels.has(UNVERIFIED_LABEL))
    return refuse(refusals.unverified(command.name, state.id));
  const children = forest.childrenOf(state.id);
  if (children > 0) return refuse(refusals.hasChildren(command.name, children));
  if (!accepts(state.status, 'SnapshotRemoving')) {
    return refuse(refusals.commitInProgress(command.name));
  }
  return ok([
    {
      type: 'SnapshotRemoving',
      data: { deferred: command.deferred, caller: command.caller },
    },
  ]);
}

/** What another client made is not changed while that one still runs. */
function keptFromCaller(
  verb: 'remove' | 'commit' | 'update',
  name: SnapshotName,
  { keeper = null, caller }: CommandOf<'Remove' | 'Commit' | 'UpdateLabels'>,
): Refusal | null {
  return keeper === null ? null : refusals.keptFromCaller(verb, name, keeper, makerOf(caller));
}

/** Two containerds number their names alike. "Already exists" would be taken for success. */
function nameInUse(
  name: SnapshotName,
  { nameKeeper = null, caller }: CommandOf<'Prepare' | 'Commit'>,
): Refusal {
  return nameKeeper === null
    ? refusals.nameInUse(name)
    : refusals.keptFromCaller('take the name of', name, nameKeeper, makerOf(caller));
}

function needsMappedLayers(forest: Forest, state: SnapshotState | null): boolean {
  if (state?.status !== 'preparing' || state.idMapping === null) return false;
  return needsIdmappedMounts(forest.ancestorsOf(state), state.idMapping);
}

function afterDirectories(
  remote: RemoteQuestion | null,
  needsMapping: boolean,
): readonly SnapshotEvent[] {
  if (needsMapping) return [{ type: 'IdMappingStarted', data: {} }];
  const type = firstAsked(remote) === null ? 'SnapshotPrepared' : 'RemoteMountStarted';
  return [{ type, data: {} }];
}

function decideRemoteReady(
  forest: Forest,
  state: SnapshotState | null,
  command: CommandOf<'RemoteReady'>,
): Decision {
  if (state === null || !accepts(state.status, 'RemoteMounted')) return overtaken(state);
  assert(state.remote !== null, 'a mounting snapshot knows its remote layer');
  const { ref } = state.remote;
  const { fileSystem } = command;
  return ok([
    { type: 'RemoteMounted', data: { fileSystem } },
    {
      type: 'SnapshotCommitted',
      data: {
        name: remoteName(forest, state, ref),
        labels: state.labels,
        usage: command.usage,
        owner: command.owner,
        parent: state.parent,
        remote: { ref, fileSystem },
        durability: 'data',
      },
    },
  ]);
}

/**
 * containerd reads the name from List, so any unique one will do. The bare ref reads best; it is
 * taken when the same layer already stands on another parent, and a stranger may hold the next.
 */
function remoteName(forest: Forest, state: SnapshotState, ref: string): SnapshotName {
  let name = snapshotName(ref);
  for (let taken = 0; forest.holderOf(name) !== undefined; taken += 1) {
    name = snapshotName(taken === 0 ? `${ref}@${state.id}` : `${ref}@${state.id}.${taken}`);
  }
  return name;
}

function decideDataReady(state: SnapshotState | null, command: CommandOf<'DataReady'>): Decision {
  const commit = state?.commit;
  if (!commit) return overtaken(state);
  return outcome(state, [
    {
      type: 'SnapshotCommitted',
      data: {
        name: commit.name,
        labels: commit.labels,
        usage: command.usage,
        owner: command.owner,
        parent: commit.parent,
        remote: null,
        durability: command.durability,
      },
    },
  ]);
}

function decideLayerLost(state: SnapshotState | null, command: CommandOf<'LayerLost'>): Decision {
  const attempts = (state?.unavailability?.attempts ?? -1) + 1;
  return outcome(state, [
    {
      type: 'LayerUnavailable',
      data: { reason: command.reason, attempts, retryAt: command.retryAt },
    },
  ]);
}

/** The same error on the same path is no news: a removal is repeated for as long as it fails. */
function decideRemovalFailed(
  state: SnapshotState | null,
  { path, code, reason }: CommandOf<'RemovalFailed'>,
): Decision {
  const known = state?.removal?.failure;
  if (known?.path === path && known.code === code) return ok([]);
  return outcome(state, [{ type: 'SnapshotRemovalFailed', data: { path, code, reason } }]);
}

function recoveryOf(state: SnapshotState | null): readonly SnapshotEvent[] {
  const afterCrash = state === null ? undefined : metaOf(state.status).afterCrash;
  if (afterCrash === undefined) return [];
  const reason = 'the daemon stopped while this was under way; no client has had an answer';
  return afterCrash === 'SnapshotAbandoned'
    ? [{ type: afterCrash, data: { reason, fault: null, inferred: true } }]
    : [{ type: afterCrash, data: { reason, fault: null } }];
}

/** Events of an effect that ended, if the snapshot still is where the effect was started. */
function outcome(state: SnapshotState | null, events: readonly SnapshotEvent[]): Decision {
  const first = events[0];
  assert(first !== undefined, 'an outcome has at least one event');
  return accepts(statusOf(state), first.type) ? ok(events) : overtaken(state);
}

function overtaken(state: SnapshotState | null): Decision {
  return refuse(refusals.superseded(state === null ? 'this' : `snapshot ${state.id}`));
}

function committedParent(
  forest: Forest,
  name: SnapshotName | null,
  notCommitted: (parent: string, kind: string) => Refusal,
): Result<ParentLink | null, Refusal> {
  if (name === null) return ok(null);
  const parent = forest.shown(name);
  if (parent === undefined) return refuse(refusals.parentUnknown(name));
  if (metaOf(parent.status).shownAs !== 'committed') {
    return refuse(notCommitted(name, kindOf(parent)));
  }
  return ok({ id: parent.id, name: parent.name });
}

function malformedName(what: 'key' | 'name', name: SnapshotName): Refusal | null {
  if (name === '') return refusals.invalidName(`an empty ${what}`);
  // Three bytes a UTF-16 unit is the most UTF-8 can take, so most names need no counting.
  if (name.length * 3 <= NAME_BYTES_MAX) return null;
  const bytes = utf8Length(name);
  if (bytes <= NAME_BYTES_MAX) return null;
  return refusals.invalidName(`a ${what} of ${bytes} bytes (limit ${NAME_BYTES_MAX})`);
}

function malformedLabels(labels: Labels): Refusal | null {
  const label = oversizedLabel(labels);
  if (label !== null) return refusals.invalidLabel(label, LABEL_BYTES_MAX);
  return areTooMany(labels) ? refusals.tooManyLabels(LABELS_BYTES_MAX) : null;
}

/** A holder that has only reserved the name, for a commit under way, does not bear it yet. */
function isShownAs(name: SnapshotName, holder: SnapshotState | null): holder is SnapshotState {
  return holder?.name === name && metaOf(holder.status).shownAs !== null;
}

function kindOf(state: SnapshotState): string {
  const { shownAs } = metaOf(state.status);
  return shownAs === 'view' ? 'a view' : (shownAs ?? 'not there');
}

function statusOf(state: SnapshotState | null): Status {
  return state?.status ?? 'absent';
}
