/**
 * A verdict for each entry of `snapshots/`: kept or collected, and why. Pure. It is what the
 * daemon's Cleanup does (src/snapshotter/cleanup.ts), told beforehand; a test holds both equal.
 */
import { assertNever } from '../../base/assert.js';
import { pluralize } from '../../base/pluralize.js';
import type { FailedScan, SnapshotDirectoryEntry } from '../../base/ports.js';
import type { SnapshotId, SnapshotName, UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import { metaOf } from '../../machines/transition-table.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import type { SetAside } from '../../machines/set-aside.js';
import { idOfStream } from '../../machines/events/streams.js';
import { idsInWords } from '../events/id-ranges.js';
import type { IdmappedEntry } from './idmapped-plan.js';
import { unownedIn, type Candidate, type Uses } from './unowned.js';

interface OfSnapshot {
  readonly id: SnapshotId;
  readonly name: SnapshotName;
}

export type KeepReason =
  | (OfSnapshot & {
      readonly kind: 'snapshot';
      readonly shownAs: 'active' | 'view' | 'committed';
      readonly children: number;
    })
  | (OfSnapshot & { readonly kind: 'being-prepared' })
  /** The daemon ended while it was prepared; the next start gives it up. */
  | (OfSnapshot & { readonly kind: 'left-to-start' })
  /** Made ahead for a coming snapshot. */
  | { readonly kind: 'preallocated' }
  /** Set aside by an event: only a request that names it deletes it. */
  | ({ readonly kind: 'set-aside' } & SetAside)
  /** No snapshot owns it, and it holds files, or a mount uses it. */
  | { readonly kind: 'in-use'; readonly evidence: string }
  /** It could not be looked at. */
  | ({ readonly kind: 'unchecked' } & FailedScan)
  /** Its number is not in the log yet: whoever asked for it is not answered yet. */
  | { readonly kind: 'in-flight' }
  | { readonly kind: 'young' }
  /** Its last change is still to come by the clock of this machine: one of the two clocks was wrong. */
  | { readonly kind: 'age-unknown' }
  /** A mount with mapped ids that these snapshots need. */
  | { readonly kind: 'idmapped'; readonly ids: readonly SnapshotId[] };

export type CollectReason =
  | (OfSnapshot & { readonly kind: 'awaiting-cleanup'; readonly since: UnixNanos | null })
  | (OfSnapshot & {
      readonly kind: 'unfinished-removal';
      readonly since: UnixNanos | null;
      /** `EBUSY on /path`, when the newest attempt failed. */
      readonly failure: string | null;
    })
  | { readonly kind: 'orphan' }
  /** Named by a person, now or before: deleted with its content. */
  | { readonly kind: 'requested' }
  | { readonly kind: 'unneeded-idmapped' };

export interface GcDecision {
  /** The entry's name in `snapshots/`, or `idmapped/…` of a mount with mapped ids; of an unfinished removal it may be gone already. */
  readonly entry: string;
  /** When its snapshot was prepared or committed; when nobody owns it, its last change. */
  readonly since: UnixNanos | null;
  /** Bytes that the log has for its content, which cannot change any more; else null. */
  readonly loggedSize: number | null;
  readonly verdict:
    | { readonly kind: 'kept'; readonly because: KeepReason }
    | { readonly kind: 'collected'; readonly because: CollectReason };
}

export interface GcWorld {
  readonly forest: Forest;
  readonly entries: readonly SnapshotDirectoryEntry[];
  /** What is below `idmapped/`. */
  readonly idmapped: readonly IdmappedEntry[];
  /** Whether a daemon is at work: what is half made belongs to it. */
  readonly isServed: boolean;
  /** How the entries of `scannedRoot` are used. */
  readonly uses: Uses;
  /** Entries that a person names, to be deleted with their content. */
  readonly requested: ReadonlySet<string>;
  /** Last change of entries that no snapshot owns. */
  readonly changedAt: ReadonlyMap<string, UnixNanos>;
  /** When removals were asked for. */
  readonly removedAt: ReadonlyMap<SnapshotId, UnixNanos>;
  /** What nobody owns is kept when it changed after this. */
  readonly youngAfter: UnixNanos;
  readonly now: UnixNanos;
}

/** Begins an entry that is not in `snapshots/`. */
export const IDMAPPED = 'idmapped/';

/** Kept ones first, by number; names that are no numbers come last. */
export function gcDecisions(world: GcWorld): readonly GcDecision[] {
  const verdicts = world.entries.flatMap((entry) => {
    // Deleted since it was listed.
    if (world.uses.get(entry.name)?.kind === 'absent') return [];
    const state = entry.id === null ? undefined : world.forest.get(entry.id);
    return state === undefined ? ownerless(entry, world) : owned(entry.name, state, world);
  });
  verdicts.push(...withoutDirectory(world), ...world.idmapped.map(idmappedVerdict));
  return verdicts.sort(
    (one, other) =>
      one.verdict.kind.localeCompare(other.verdict.kind) * -1 ||
      one.entry.localeCompare(other.entry, 'en', { numeric: true }),
  );
}

/** Removals whose directory is gone, and which the log does not know as ended. */
function withoutDirectory(world: GcWorld): readonly GcDecision[] {
  const there = new Set(world.entries.map(({ id }) => id));
  const ids = [...removalsIn(world.forest)].filter((id) => !there.has(id));
  return ids.flatMap((id) => {
    const state = world.forest.get(id);
    return state === undefined ? [] : [{ ...owned(String(id), state, world), loggedSize: 0 }];
  });
}

/** Entries whose last change must be known for a verdict. */
export function ownerlessOf(
  forest: Forest,
  entries: readonly SnapshotDirectoryEntry[],
): readonly string[] {
  return entries.filter(({ id }) => id === null || !forest.has(id)).map(({ name }) => name);
}

/** Entries whose use must be known for a verdict: only a look can tell that they are garbage. */
export function scannedRoot(
  forest: Forest,
  entries: readonly SnapshotDirectoryEntry[],
): readonly Candidate[] {
  const abandoned = [...forest.unsettled()].flatMap((state): readonly Candidate[] => {
    const isGoing = state.removal?.because === 'inferred' && state.status === 'removing';
    return isGoing ? [{ name: String(state.id), id: state.id, because: 'abandoned' }] : [];
  });
  const kept = entries.flatMap(({ name, id }): readonly Candidate[] => {
    return forest.setAside.has(name) || forest.released.has(name)
      ? [{ name, id, because: 'unowned' }]
      : [];
  });
  return [...abandoned, ...unownedIn(entries, forest), ...kept];
}

/** Snapshots whose removal is under way or put off. */
export function removalsIn(forest: Forest): ReadonlySet<SnapshotId> {
  const ids = new Set<SnapshotId>();
  for (const { id, status } of forest.unsettled()) {
    if (status === 'awaitingCleanup' || status === 'removing') ids.add(id);
  }
  return ids;
}

/** When each removal was asked for. Records from the end of the log backwards; read no further than needed. */
export async function removalTimes(
  ids: ReadonlySet<SnapshotId>,
  newestFirst: AsyncIterable<readonly LogRecord[]>,
): Promise<ReadonlyMap<SnapshotId, UnixNanos>> {
  const times = new Map<SnapshotId, UnixNanos>();
  if (ids.size === 0) return times;
  for await (const batch of newestFirst) {
    for (const { type, stream, time } of batch) {
      const id = type === 'SnapshotRemoving' ? idOfStream(stream) : null;
      if (id !== null && ids.has(id)) times.set(id, time);
    }
    if (times.size === ids.size) break;
  }
  return times;
}

function ownerless({ name, id }: SnapshotDirectoryEntry, world: GcWorld): GcDecision {
  const { forest, isServed, changedAt, youngAfter, now, requested } = world;
  const since = changedAt.get(name) ?? null;
  const told = { entry: name, since, loggedSize: null };
  const use = world.uses.get(name);
  const setAside = forest.setAside.get(name);
  if (id !== null && forest.isPreallocated(id) && isServed)
    return kept(told, { kind: 'preallocated' });
  if (requested.has(name) || forest.released.has(name)) {
    if (use?.kind === 'used' && use.by === 'mount') return inUse(told, use.evidence);
    return { ...told, verdict: { kind: 'collected', because: { kind: 'requested' } } };
  }
  if (id !== null && forest.isPreallocated(id)) return kept(told, { kind: 'preallocated' });
  if (setAside !== undefined) return kept(told, { kind: 'set-aside', ...setAside });
  if (id !== null && id >= forest.nextId && isServed) return kept(told, { kind: 'in-flight' });
  if (use?.kind === 'used') return inUse(told, use.evidence);
  if (use?.kind === 'unknown') return kept(told, { ...use, kind: 'unchecked' });
  if (since !== null && since > youngAfter) {
    return kept(told, { kind: since > now ? 'age-unknown' : 'young' });
  }
  return { ...told, verdict: { kind: 'collected', because: { kind: 'orphan' } } };
}

function owned(entry: string, state: SnapshotState, world: GcWorld): GcDecision {
  const { id, name, status, usage, createdAt, removal } = state;
  const { shownAs, afterCrash } = metaOf(status);
  const told = { entry, since: createdAt, loggedSize: usage?.size ?? null };
  const use = removal?.because === 'inferred' ? world.uses.get(entry) : undefined;
  if (use?.kind === 'used') return inUse(told, use.evidence);
  const of = { id, name, since: world.removedAt.get(id) ?? null };
  if (status === 'awaitingCleanup') {
    return {
      ...told,
      verdict: { kind: 'collected', because: { kind: 'awaiting-cleanup', ...of } },
    };
  }
  if (status === 'removing') {
    const failed = removal?.failure ?? null;
    const failure = failed === null ? null : `${failed.code} on ${failed.path}`;
    const because = { kind: 'unfinished-removal', failure, ...of } as const;
    return { ...told, verdict: { kind: 'collected', because } };
  }
  if (shownAs !== null) {
    const children = world.forest.childrenOf(id);
    return kept(told, { kind: 'snapshot', id, name, shownAs, children });
  }
  const isGivenUp = afterCrash === 'SnapshotAbandoned' && !world.isServed;
  return kept(told, { kind: isGivenUp ? 'left-to-start' : 'being-prepared', id, name });
}

const inUse = (told: Omit<GcDecision, 'verdict'>, evidence: string): GcDecision =>
  kept(told, { kind: 'in-use', evidence });

function idmappedVerdict({ entry: name, ids }: IdmappedEntry): GcDecision {
  const told = { entry: `${IDMAPPED}${name}`, since: null, loggedSize: 0 };
  if (ids.length > 0) return kept(told, { kind: 'idmapped', ids });
  return { ...told, verdict: { kind: 'collected', because: { kind: 'unneeded-idmapped' } } };
}

function kept(told: Omit<GcDecision, 'verdict'>, because: KeepReason): GcDecision {
  return { ...told, verdict: { kind: 'kept', because } };
}

/** `formatted` says a time; the text may hold any character that a client chose. */
export function reasonInWords(
  because: KeepReason | CollectReason,
  formatted: (time: UnixNanos) => string,
): string {
  const since = (time: UnixNanos | null): string =>
    time === null ? '' : ` since ${formatted(time)}`;
  switch (because.kind) {
    case 'snapshot': {
      const { shownAs, name, children } = because;
      const kind = shownAs === 'view' ? 'view' : `${shownAs} snapshot`;
      const below = children === 0 ? '' : `, ${children} ${children === 1 ? 'child' : 'children'}`;
      return `${kind} ${name}${below}`;
    }
    case 'being-prepared':
      return `being prepared: ${because.name}`;
    case 'left-to-start':
      return `half prepared when the daemon ended, the next start abandons it: ${because.name}`;
    case 'preallocated':
      return 'spare: made ahead for a coming snapshot';
    case 'set-aside':
      return because.because === 'repair'
        ? 'set aside by a repair: the events of its snapshot are lost; --delete deletes it'
        : `set aside, in use although the log has it as ${because.because}: ${because.evidence}; --delete deletes it`;
    case 'in-use':
      return `no snapshot owns it, and it is in use: ${because.evidence}`;
    case 'unchecked':
      return `not known: ${because.operation} failed with ${because.code} on ${because.path}`;
    case 'in-flight':
      return 'just being made: its number is not in the log yet';
    case 'young':
      return 'no snapshot owns it, but it is younger than --min-age';
    case 'age-unknown':
      return 'no snapshot owns it, but its last change is still to come, so its age is unknown';
    case 'awaiting-cleanup':
      return `removed, awaiting Cleanup${since(because.since)}: ${because.name}`;
    case 'unfinished-removal':
      return because.failure === null
        ? `removal unfinished${since(because.since)}: ${because.name}`
        : `removal fails with ${because.failure}${since(because.since)}: ${because.name}`;
    case 'requested':
      return 'requested to be deleted with its content';
    case 'idmapped':
      return `layers with mapped ids for ${pluralize(because.ids.length, 'snapshot')} ${idsInWords(because.ids)}`;
    case 'unneeded-idmapped':
      return 'layers with mapped ids that no snapshot needs';
    case 'orphan':
      return 'orphan: no snapshot in the log owns it, and it is unused';
    default:
      return assertNever(because);
  }
}
