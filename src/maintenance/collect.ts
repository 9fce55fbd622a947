/**
 * Cleanup of a root whose daemon is stopped. Writes the same events in the same order as the daemon
 * (src/snapshotter/cleanup.ts, unowned-directories.ts). Leaves mounted directories and their
 * snapshots alone: only the daemon has the file system that mounted them.
 *
 * After a crash the next startup finishes the unfinished removals, as it does after a crash of the
 * daemon.
 */
import { errnoOf, HostFault, reasonOf } from '../base/errors.js';
import type { DirectoryUse, IdmappedMounts, SnapshotDirectories } from '../base/ports.js';
import { parseSnapshotId } from '../base/units.js';
import { IDMAPPED } from '../inspect/startup/gc.js';
import { daemonDrafts, snapshotDraft } from '../inspect/events/owner-records.js';
import { setAsideEvents, type Candidate, type Uses } from '../inspect/startup/unowned.js';
import type { DaemonEvent } from '../machines/events/daemon-events.js';
import { decide } from '../machines/decide.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/snapshots/forest.js';
import type { HeldRoot } from './hold-root.js';

export interface CollectOptions {
  /** Absolute. */
  readonly snapshotsPath: string;
  readonly directories: Pick<SnapshotDirectories, 'remove' | 'removeUnused'>;
  readonly idmappedMounts: Pick<IdmappedMounts, 'directory' | 'detach'>;
  /** How the unowned entries are used, scanned while the root is held. */
  readonly uses: Uses;
  /** Entries that the operator named, to be deleted with their content. */
  readonly requested: ReadonlySet<string>;
  /** Called before each removal. */
  readonly onNext: (done: number, of: number) => void;
}

export interface Collected {
  readonly removed: number;
  readonly stayed: readonly { readonly entry: string; readonly why: string }[];
}

/**
 * Removes those of the entries in `snapshots/` that are still garbage now that the root is held. If
 * an entry no longer exists, the removal of its snapshot still ends. Mounts with mapped ids
 * (`idmapped/…`) are not in the log and are removed last, after the snapshots that used them.
 * Fails as `append` does.
 */
export async function collect(
  held: HeldRoot,
  entries: readonly string[],
  options: CollectOptions,
): Promise<Collected> {
  const isIdmapped = (entry: string) => entry.startsWith(IDMAPPED);
  const collected = await collectDirectories(
    held,
    entries.filter((entry) => !isIdmapped(entry)),
    options,
  );
  const stayed = [...collected.stayed];
  const idmapped = entries.filter(isIdmapped);
  for (const entry of idmapped) {
    const path = `${options.idmappedMounts.directory}/${entry.slice(IDMAPPED.length)}`;
    try {
      await options.idmappedMounts.detach(path);
    } catch (thrown) {
      stayed.push({ entry, why: reasonOf(thrown) });
    }
  }
  const left = stayed.length - collected.stayed.length;
  return { removed: collected.removed + idmapped.length - left, stayed };
}

async function collectDirectories(
  held: HeldRoot,
  entries: readonly string[],
  options: CollectOptions,
): Promise<Collected> {
  const { forest } = held.replay;
  const garbage = entries.flatMap((entry) => garbageIn(forest, entry, options) ?? []);
  await held.append(eventsBefore(held, garbage, options));
  const stayed: Collected['stayed'][number][] = [];
  for (const [done, one] of garbage.entries()) {
    options.onNext(done, garbage.length);
    const why = await remove(held, one, options);
    if (why !== null) stayed.push({ entry: one.entry, why });
  }
  return { removed: garbage.length - stayed.length, stayed };
}

interface Garbage {
  readonly entry: string;
  /** `released`: deleted with its content. */
  readonly kind: 'snapshot' | 'orphan' | 'released';
  /** State of the removed snapshot; null if the entry belongs to none. */
  readonly state: SnapshotState | null;
}

/** Null if the entry is owned. Checks again, because the plan was made before the root was held. */
function garbageIn(
  forest: Forest,
  entry: string,
  { uses, requested }: CollectOptions,
): Garbage | null {
  const id = parseSnapshotId(entry);
  const state = id === null ? undefined : forest.get(id);
  if (state !== undefined) {
    const isRemoved = state.status === 'awaitingCleanup' || state.status === 'removing';
    return isRemoved ? { entry, kind: 'snapshot', state } : null;
  }
  if (forest.released.has(entry) || requested.has(entry)) {
    return { entry, kind: 'released', state: null };
  }
  const isOwned = id !== null && forest.isPreallocated(id);
  if (isOwned || forest.setAside.has(entry) || uses.get(entry)?.kind !== 'unused') return null;
  return { entry, kind: 'orphan', state: null };
}

/** The events to append before anything is deleted. */
function eventsBefore(
  held: HeldRoot,
  garbage: readonly Garbage[],
  { uses, snapshotsPath }: CollectOptions,
): ReturnType<typeof daemonDrafts> {
  const { forest, daemonStreamVersion } = held.replay;
  const waiting = garbage.flatMap(({ state }) =>
    state?.status === 'awaitingCleanup' ? [state] : [],
  );
  const namesOf = (kind: Garbage['kind']) =>
    garbage.flatMap((one) => (one.kind === kind ? [one.entry] : []));
  const orphans = namesOf('orphan');
  const collected = namesOf('snapshot').length;
  const released = namesOf('released').filter((name) => !forest.released.has(name));
  const replayedTo = held.log.durablePosition;
  const events: DaemonEvent[] = [];
  if (collected + orphans.length > 0) {
    const data = { collected, orphans: orphans.length, replayedTo };
    events.push({ type: 'DirectoriesCollected', data });
  }
  const unowned = unownedIn(uses, forest).filter(({ name }) => !released.includes(name));
  events.push(...setAsideEvents(unowned, uses));
  events.push(...orphans.map((name) => orphanEvent('OrphanFound', name, snapshotsPath)));
  if (released.length > 0) {
    events.push({ type: 'DirectoriesReleased', data: { names: released, because: 'requested' } });
  }
  return [
    ...waiting.map((state) => snapshotDraft(state, { type: 'SnapshotCollecting', data: {} })),
    ...daemonDrafts(events, daemonStreamVersion),
  ];
}

/** The scanned entries that are unowned and not set aside. */
function unownedIn(uses: Uses, forest: Forest): readonly Candidate[] {
  return [...uses.keys()].flatMap((name): readonly Candidate[] => {
    const id = parseSnapshotId(name);
    const isOwned = id !== null && (forest.has(id) || forest.isPreallocated(id));
    if (isOwned || forest.setAside.has(name) || forest.released.has(name)) return [];
    return [{ name, id, because: 'unowned' }];
  });
}

/** Returns null after the removal, or why the entry stays. */
async function remove(
  held: HeldRoot,
  garbage: Garbage,
  options: CollectOptions,
): Promise<string | null> {
  const { entry, kind } = garbage;
  const { directories, snapshotsPath } = options;
  const state = garbage.state === null ? undefined : held.replay.forest.get(garbage.state.id);
  try {
    if (state?.removal?.because === 'inferred' || kind === 'orphan') {
      const use = await directories.removeUnused(entry);
      if (use.kind === 'unknown') throw new HostFault(use.operation, use.path, use.code);
      if (use.kind === 'used') return await setAside(held, entry, state, use);
    } else {
      await directories.remove(entry, undefined, { unlessUsed: kind === 'released' });
    }
  } catch (thrown) {
    if (state !== undefined) await recordFailure(held, state, thrown, `${snapshotsPath}/${entry}`);
    return reasonOf(thrown);
  }
  if (state === undefined) await held.record(orphanEvent('OrphanRemoved', entry, snapshotsPath));
  else await held.append([snapshotDraft(state, { type: 'SnapshotRemoved', data: {} })]);
  return null;
}

/**
 * Sets an entry aside that is in use after all. A layer that a preparation mounted does not count
 * as use: the daemon unmounts it.
 */
async function setAside(
  held: HeldRoot,
  name: string,
  state: SnapshotState | undefined,
  use: Extract<DirectoryUse, { kind: 'used' }>,
): Promise<string> {
  const { evidence, by } = use;
  if (state !== undefined && state.remote !== null && by === 'mount') return evidence;
  const because = state === undefined ? 'unowned' : 'abandoned';
  await held.record({
    type: 'DirectoriesSetAside',
    data: { directories: [{ name, because, evidence }] },
  });
  if (state !== undefined) {
    await held.append([snapshotDraft(state, { type: 'SnapshotRemoved', data: {} })]);
  }
  return `set aside: ${evidence}`;
}

async function recordFailure(
  held: HeldRoot,
  state: SnapshotState,
  thrown: unknown,
  directory: string,
): Promise<void> {
  const path = thrown instanceof HostFault ? thrown.path : directory;
  const code = errnoOf(thrown) ?? 'Error';
  const reason = reasonOf(thrown);
  const failed = { command: 'RemovalFailed', path, code, reason } as const;
  const decision = decide(held.replay.forest, state, failed);
  if (!decision.ok) return;
  await held.append(decision.value.map((event) => snapshotDraft(state, event)));
}

function orphanEvent(
  type: 'OrphanFound' | 'OrphanRemoved',
  name: string,
  snapshotsPath: string,
): DaemonEvent {
  return { type, data: { name, path: `${snapshotsPath}/${name}` } };
}
