/**
 * Cleanup of a root whose daemon is stopped: the same events as src/snapshotter/cleanup.ts writes,
 * and in the same order. What is mounted stays, and so does its snapshot's place in the log: only
 * the daemon has the file system that mounted it.
 *
 * A death in between leaves what a death of the daemon leaves there: a removal that is not ended,
 * which the next start ends.
 */
import { reasonOf } from '../base/errors.js';
import type { SnapshotDirectories } from '../base/ports.js';
import { parseSnapshotId } from '../base/units.js';
import { daemonDrafts, snapshotDraft } from '../inspect/owner-records.js';
import type { DaemonEvent } from '../machines/daemon-events.js';
import type { SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/forest.js';
import type { HeldRoot } from './hold-root.js';

export interface CollectOptions {
  /** Absolute. */
  readonly snapshotsPath: string;
  readonly directories: Pick<SnapshotDirectories, 'remove'>;
  /** Told before each removal. */
  readonly onNext: (done: number, of: number) => void;
}

export interface Collected {
  readonly removed: number;
  readonly stayed: readonly { readonly entry: string; readonly why: string }[];
}

/**
 * Removes these entries of `snapshots/`, as far as they still are garbage now that the root is
 * held. One that is gone already ends its snapshot's removal all the same. Fails as the log does.
 */
export async function collect(
  held: HeldRoot,
  entries: readonly string[],
  { snapshotsPath, directories, onNext }: CollectOptions,
): Promise<Collected> {
  const { forest } = held.replay;
  const garbage = entries.flatMap((entry) => garbageIn(forest, entry) ?? []);
  const waiting = garbage.flatMap(({ state }) =>
    state?.status === 'awaitingCleanup' ? [state] : [],
  );
  const orphans = garbage.filter(({ state }) => state === null);
  const event = (type: 'OrphanFound' | 'OrphanRemoved', name: string): DaemonEvent => ({
    type,
    data: { name, path: `${snapshotsPath}/${name}` },
  });
  if (garbage.length === 0) return { removed: 0, stayed: [] };
  const begun: DaemonEvent = {
    type: 'DirectoriesCollected',
    data: {
      collected: garbage.length - orphans.length,
      orphans: orphans.length,
      replayedTo: held.log.durablePosition,
    },
  };
  const found = orphans.map(({ entry }) => event('OrphanFound', entry));
  await held.append([
    ...waiting.map((state) => snapshotDraft(state, { type: 'SnapshotCollecting', data: {} })),
    ...daemonDrafts([begun, ...found], held.replay.daemonStreamVersion),
  ]);
  const stayed: Collected['stayed'][number][] = [];
  for (const [done, { entry, state }] of garbage.entries()) {
    onNext(done, garbage.length);
    try {
      await directories.remove(entry);
    } catch (thrown) {
      stayed.push({ entry, why: reasonOf(thrown) });
      continue;
    }
    const now = state === null ? undefined : forest.get(state.id);
    if (now === undefined) await held.record(event('OrphanRemoved', entry));
    else await held.append([snapshotDraft(now, { type: 'SnapshotRemoved', data: {} })]);
  }
  return { removed: garbage.length - stayed.length, stayed };
}

interface Garbage {
  readonly entry: string;
  /** Null for an orphan. */
  readonly state: SnapshotState | null;
}

/** Null for what somebody owns. Whoever looked before the root was held may have seen it otherwise. */
function garbageIn(forest: Forest, entry: string): Garbage | null {
  const id = parseSnapshotId(entry);
  const state = id === null ? undefined : forest.get(id);
  if (state !== undefined) {
    const isGoing = state.status === 'awaitingCleanup' || state.status === 'removing';
    return isGoing ? { entry, state } : null;
  }
  const isOwned = id !== null && (forest.isSpare(id) || forest.isKept(id));
  return isOwned ? null : { entry, state: null };
}
