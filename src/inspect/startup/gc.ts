/**
 * Predicts what the daemon's Cleanup (src/snapshotter/cleanup.ts) does with each entry of
 * `snapshots/`: keep or collect, and why. Pure. A test checks that both agree.
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
  /** The daemon ended during the preparation; the next startup abandons it. */
  | (OfSnapshot & { readonly kind: 'left-to-start' })
  /** Preallocated for a future snapshot. */
  | { readonly kind: 'preallocated' }
  /** Set aside by an event: deleted only by a request that names it. */
  | ({ readonly kind: 'set-aside' } & SetAside)
  /** Unowned, but it has files or a mount uses it. */
  | { readonly kind: 'in-use'; readonly evidence: string }
  /** The scan failed. */
  | ({ readonly kind: 'unchecked' } & FailedScan)
  /** Its number is not in the log yet: the request is in progress. */
  | { readonly kind: 'in-flight' }
  | { readonly kind: 'young' }
  /** Its last change is in the future: a clock is or was wrong. */
  | { readonly kind: 'age-unknown' }
  /** A mount with mapped ids that these snapshots need. */
  | { readonly kind: 'idmapped'; readonly ids: readonly SnapshotId[] };

export type CollectReason =
  | (OfSnapshot & { readonly kind: 'awaiting-cleanup'; readonly since: UnixNanos | null })
  | (OfSnapshot & {
      readonly kind: 'unfinished-removal';
      readonly since: UnixNanos | null;
      /** `EBUSY on /path`, if the last attempt failed. */
      readonly failure: string | null;
    })
  | { readonly kind: 'orphan' }
  /** Named by the operator, now or before: deleted with its content. */
  | { readonly kind: 'requested' }
  | { readonly kind: 'unneeded-idmapped' };

export interface GcDecision {
  /**
   * Name in `snapshots/`, or `idmapped/…` for a mount with mapped ids. The entry of an unfinished
   * removal may no longer exist.
   */
  readonly entry: string;
  /** When its snapshot was prepared or committed; the last change of an unowned entry. */
  readonly since: UnixNanos | null;
  /** Logged size in bytes of immutable content; else null. */
  readonly loggedSize: number | null;
  readonly verdict:
    | { readonly kind: 'kept'; readonly because: KeepReason }
    | { readonly kind: 'collected'; readonly because: CollectReason };
}

export interface GcInput {
  readonly forest: Forest;
  readonly entries: readonly SnapshotDirectoryEntry[];
  /** The entries below `idmapped/`. */
  readonly idmapped: readonly IdmappedEntry[];
  /** Whether a daemon is running: it owns what is unfinished. */
  readonly isServed: boolean;
  /** How the entries of `gcCandidates` are used. */
  readonly uses: Uses;
  /** Entries that the operator names, to be deleted with their content. */
  readonly requested: ReadonlySet<string>;
  /** Last change of unowned entries. */
  readonly changedAt: ReadonlyMap<string, UnixNanos>;
  /** When removals were requested. */
  readonly removedAt: ReadonlyMap<SnapshotId, UnixNanos>;
  /** Unowned entries that changed after this are kept. */
  readonly youngAfter: UnixNanos;
  readonly now: UnixNanos;
}

/** Prefix of an entry that is not in `snapshots/`. */
export const IDMAPPED = 'idmapped/';

/** Kept entries first, then by number; other names come last. */
export function gcDecisions(input: GcInput): readonly GcDecision[] {
  const decisions = input.entries.flatMap((entry) => {
    // Deleted since it was listed.
    if (input.uses.get(entry.name)?.kind === 'absent') return [];
    const state = entry.id === null ? undefined : input.forest.get(entry.id);
    return state === undefined ? unowned(entry, input) : owned(entry.name, state, input);
  });
  decisions.push(...withoutDirectory(input), ...input.idmapped.map(idmappedDecision));
  return decisions.sort(
    (one, other) =>
      one.verdict.kind.localeCompare(other.verdict.kind) * -1 ||
      one.entry.localeCompare(other.entry, 'en', { numeric: true }),
  );
}

/** Unfinished removals whose directory no longer exists. */
function withoutDirectory(input: GcInput): readonly GcDecision[] {
  const present = new Set(input.entries.map(({ id }) => id));
  const ids = [...removalsIn(input.forest)].filter((id) => !present.has(id));
  return ids.flatMap((id) => {
    const state = input.forest.get(id);
    return state === undefined ? [] : [{ ...owned(String(id), state, input), loggedSize: 0 }];
  });
}

/** Entries whose last change `gcDecisions` needs. */
export function namesWithoutSnapshot(
  forest: Forest,
  entries: readonly SnapshotDirectoryEntry[],
): readonly string[] {
  return entries.filter(({ id }) => id === null || !forest.has(id)).map(({ name }) => name);
}

/** Entries whose use `gcDecisions` needs: they are garbage only if a scan finds them unused. */
export function gcCandidates(
  forest: Forest,
  entries: readonly SnapshotDirectoryEntry[],
): readonly Candidate[] {
  const abandoned = [...forest.unsettled()].flatMap((state): readonly Candidate[] => {
    const isInferred = state.removal?.because === 'inferred' && state.status === 'removing';
    return isInferred ? [{ name: String(state.id), id: state.id, because: 'abandoned' }] : [];
  });
  const kept = entries.flatMap(({ name, id }): readonly Candidate[] => {
    return forest.setAside.has(name) || forest.released.has(name)
      ? [{ name, id, because: 'unowned' }]
      : [];
  });
  return [...abandoned, ...unownedIn(entries, forest), ...kept];
}

/** Snapshots whose removal is in progress or deferred. */
export function removalsIn(forest: Forest): ReadonlySet<SnapshotId> {
  const ids = new Set<SnapshotId>();
  for (const { id, status } of forest.unsettled()) {
    if (status === 'awaitingCleanup' || status === 'removing') ids.add(id);
  }
  return ids;
}

/** When each removal was requested. Reads the records, newest first, only as far as needed. */
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

function unowned({ name, id }: SnapshotDirectoryEntry, input: GcInput): GcDecision {
  const { forest, isServed, changedAt, youngAfter, now, requested } = input;
  const since = changedAt.get(name) ?? null;
  const common = { entry: name, since, loggedSize: null };
  const use = input.uses.get(name);
  const setAside = forest.setAside.get(name);
  if (id !== null && forest.isPreallocated(id) && isServed)
    return kept(common, { kind: 'preallocated' });
  if (requested.has(name) || forest.released.has(name)) {
    if (use?.kind === 'used' && use.by === 'mount') return inUse(common, use.evidence);
    return { ...common, verdict: { kind: 'collected', because: { kind: 'requested' } } };
  }
  if (id !== null && forest.isPreallocated(id)) return kept(common, { kind: 'preallocated' });
  if (setAside !== undefined) return kept(common, { kind: 'set-aside', ...setAside });
  if (id !== null && id >= forest.nextId && isServed) return kept(common, { kind: 'in-flight' });
  if (use?.kind === 'used') return inUse(common, use.evidence);
  if (use?.kind === 'unknown') return kept(common, { ...use, kind: 'unchecked' });
  if (since !== null && since > youngAfter) {
    return kept(common, { kind: since > now ? 'age-unknown' : 'young' });
  }
  return { ...common, verdict: { kind: 'collected', because: { kind: 'orphan' } } };
}

function owned(entry: string, state: SnapshotState, input: GcInput): GcDecision {
  const { id, name, status, usage, createdAt, removal } = state;
  const { shownAs, afterCrash } = metaOf(status);
  const common = { entry, since: createdAt, loggedSize: usage?.size ?? null };
  const use = removal?.because === 'inferred' ? input.uses.get(entry) : undefined;
  if (use?.kind === 'used') return inUse(common, use.evidence);
  const of = { id, name, since: input.removedAt.get(id) ?? null };
  if (status === 'awaitingCleanup') {
    return {
      ...common,
      verdict: { kind: 'collected', because: { kind: 'awaiting-cleanup', ...of } },
    };
  }
  if (status === 'removing') {
    const failed = removal?.failure ?? null;
    const failure = failed === null ? null : `${failed.code} on ${failed.path}`;
    const because = { kind: 'unfinished-removal', failure, ...of } as const;
    return { ...common, verdict: { kind: 'collected', because } };
  }
  if (shownAs !== null) {
    const children = input.forest.childrenOf(id);
    return kept(common, { kind: 'snapshot', id, name, shownAs, children });
  }
  const isAbandoned = afterCrash === 'SnapshotAbandoned' && !input.isServed;
  return kept(common, { kind: isAbandoned ? 'left-to-start' : 'being-prepared', id, name });
}

const inUse = (common: Omit<GcDecision, 'verdict'>, evidence: string): GcDecision =>
  kept(common, { kind: 'in-use', evidence });

function idmappedDecision({ entry: name, ids }: IdmappedEntry): GcDecision {
  const common = { entry: `${IDMAPPED}${name}`, since: null, loggedSize: 0 };
  if (ids.length > 0) return kept(common, { kind: 'idmapped', ids });
  return { ...common, verdict: { kind: 'collected', because: { kind: 'unneeded-idmapped' } } };
}

function kept(common: Omit<GcDecision, 'verdict'>, because: KeepReason): GcDecision {
  return { ...common, verdict: { kind: 'kept', because } };
}

/** The text may contain any character that a client chose. */
export function reasonInWords(
  because: KeepReason | CollectReason,
  formatTime: (time: UnixNanos) => string,
): string {
  const since = (time: UnixNanos | null): string =>
    time === null ? '' : ` since ${formatTime(time)}`;
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
      return `prepared in part when the daemon ended; the next startup abandons it: ${because.name}`;
    case 'preallocated':
      return 'preallocated for a future snapshot';
    case 'set-aside':
      return because.because === 'repair'
        ? 'set aside by a repair: the events of its snapshot are lost; --delete deletes it'
        : `set aside: in use, but ${because.because} in the log: ${because.evidence}; --delete deletes it`;
    case 'in-use':
      return `unowned, but in use: ${because.evidence}`;
    case 'unchecked':
      return `unknown: ${because.operation} failed with ${because.code} on ${because.path}`;
    case 'in-flight':
      return 'being created: its number is not in the log yet';
    case 'young':
      return 'unowned, but younger than --min-age';
    case 'age-unknown':
      return 'unowned, but its last change is in the future, so its age is unknown';
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
      return 'orphan: unowned and unused';
    default:
      return assertNever(because);
  }
}
