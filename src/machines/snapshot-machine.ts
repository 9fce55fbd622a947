/**
 * The statechart of one snapshot: the only place that says what may follow what, what a client
 * sees in each state, which side effect belongs to a state, and what a state means after a crash.
 * Decisions, replay, recovery and the drawings in docs/ are derived from it; none repeats it.
 *
 * There is no `invoke` and no `after`: an effect is named by a state's meta and run by the
 * supervisor, so the machine stays pure, can be replayed, and a restored state starts nothing
 * by itself. Deadlines are events (docs/decisions).
 */
import { assign, setup } from 'xstate';
import { evolve, firstAsked, type Recorded, type SnapshotFacts } from './facts.js';
import type { SnapshotEventType } from './events/events.js';

/** The side effects that belong to states. */
export type StateEffect =
  | 'prepareDirectories'
  | 'mapLayerIds'
  | 'mountRemote'
  | 'makeDurable'
  | 'restoreLayer'
  | 'removeDirectories';

export interface StateMeta {
  /** The kind that clients see; null while the snapshot is invisible. */
  readonly shownAs: 'active' | 'view' | 'committed' | null;
  /** Whether it occupies its name: another snapshot asking for it is refused. */
  readonly holdsName: boolean;
  /**
   * The effect that runs while a snapshot is in this state. `accepted`: as soon as the event that
   * led here is in line to be written, because the effect only adds to a directory of its own.
   * `durable`: not before that event is durable, because the effect destroys, or outlives a crash.
   */
  readonly effect?: { readonly name: StateEffect; readonly onceEventIs: 'accepted' | 'durable' };
  /** The event that recovery records after a crash. Without it, the effect runs again. */
  readonly afterCrash?: Extract<SnapshotEventType, 'SnapshotAbandoned' | 'SnapshotCommitFailed'>;
}

/** The machine's input: an event of the log. The type leads, as XState wants it. */
export type MachineEvent = {
  [Type in SnapshotEventType]: { readonly type: Type; readonly recorded: Recorded };
}[SnapshotEventType];

interface MachineContext {
  readonly facts: SnapshotFacts | null;
}

const hidden = { shownAs: null, holdsName: false } as const satisfies StateMeta;
const reserved = { shownAs: null, holdsName: true } as const satisfies StateMeta;
const committed = { shownAs: 'committed', holdsName: true } as const satisfies StateMeta;

/** Every transition records the event's facts; `to` also changes the state. */
const record = { actions: 'record' } as const;
const to = <Target extends string>(target: Target) => ({ target, ...record });

/** A removal begins at once, or waits for Cleanup when the client requested that. */
const removal = [{ guard: 'isDeferred', ...to('awaitingCleanup') }, to('removing')] as const;

const prepared = [{ guard: 'isView', ...to('view') }, to('active')] as const;

export const snapshotMachine = setup({
  types: {
    context: {} as MachineContext,
    events: {} as MachineEvent,
    meta: {} as StateMeta,
  },
  guards: {
    isAsked: ({ context }) => firstAsked(context.facts?.question ?? null) !== null,
    isView: ({ context }) => context.facts?.preparedAs === 'view',
    isDeferred: ({ event }) => {
      const { event: removing } = event.recorded;
      return removing.type === 'SnapshotRemoving' && removing.data.deferred;
    },
  },
  actions: {
    record: assign(({ context, event }) => ({ facts: evolve(context.facts, event.recorded) })),
  },
}).createMachine({
  id: 'snapshot',
  context: { facts: null },
  initial: 'absent',
  states: {
    absent: {
      meta: hidden,
      on: {
        SnapshotPreparing: to('preparing'),
        SnapshotSalvaged: to('committed'),
      },
    },
    preparing: {
      meta: {
        ...reserved,
        effect: { name: 'prepareDirectories', onceEventIs: 'accepted' },
        afterCrash: 'SnapshotAbandoned',
      },
      on: {
        SnapshotPrepared: prepared,
        IdMappingStarted: to('mappingIds'),
        RemoteMountStarted: { guard: 'isAsked', ...to('mounting') },
        SnapshotAbandoned: to('removing'),
      },
    },
    mappingIds: {
      meta: {
        ...reserved,
        // As in `mounting`: what outlives this process is in the log before it is made.
        effect: { name: 'mapLayerIds', onceEventIs: 'durable' },
        afterCrash: 'SnapshotAbandoned',
      },
      on: {
        SnapshotPrepared: prepared,
        SnapshotAbandoned: to('removing'),
      },
    },
    mounting: {
      meta: {
        ...reserved,
        // A mount outlives this process: the log must know of it before it is made.
        effect: { name: 'mountRemote', onceEventIs: 'durable' },
        afterCrash: 'SnapshotAbandoned',
      },
      on: {
        RemoteMounted: to('mounted'),
        RemoteMountFailed: to('active'),
        SnapshotAbandoned: to('removing'),
      },
    },
    mounted: {
      meta: { ...reserved, afterCrash: 'SnapshotAbandoned' },
      on: {
        SnapshotCommitted: to('committed'),
        SnapshotAbandoned: to('removing'),
      },
    },
    active: {
      meta: { shownAs: 'active', holdsName: true },
      on: {
        SnapshotCommitting: to('committing'),
        LabelsUpdated: record,
        SnapshotRemoving: removal,
      },
    },
    committing: {
      meta: {
        shownAs: 'active',
        holdsName: true,
        effect: { name: 'makeDurable', onceEventIs: 'accepted' },
        afterCrash: 'SnapshotCommitFailed',
      },
      on: {
        SnapshotCommitted: to('committed'),
        SnapshotCommitFailed: to('active'),
        LabelsUpdated: record,
      },
    },
    view: {
      meta: { shownAs: 'view', holdsName: true },
      on: {
        LabelsUpdated: record,
        SnapshotRemoving: removal,
      },
    },
    committed: {
      initial: 'available',
      on: {
        LabelsUpdated: record,
        SnapshotRemoving: removal,
      },
      states: {
        available: {
          meta: committed,
          on: { LayerUnavailable: to('unavailable') },
        },
        unavailable: {
          meta: { ...committed, effect: { name: 'restoreLayer', onceEventIs: 'durable' } },
          on: {
            // Another attempt failed: the same state with a new reason and a later retry.
            LayerUnavailable: to('unavailable'),
            LayerAvailable: to('available'),
          },
        },
      },
    },
    awaitingCleanup: {
      meta: hidden,
      on: { SnapshotCollecting: to('removing') },
    },
    removing: {
      meta: { ...hidden, effect: { name: 'removeDirectories', onceEventIs: 'durable' } },
      on: {
        SnapshotRemovalFailed: record,
        SnapshotRemoved: to('removed'),
      },
    },
    removed: { type: 'final', meta: hidden },
  },
});
