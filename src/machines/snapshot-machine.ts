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
import { evolve, type Recorded, type SnapshotFacts } from './facts.js';
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
  /** The kind a client is told, or null while, or once, it must not be seen. */
  readonly shownAs: 'active' | 'view' | 'committed' | null;
  /** Whether it occupies its name: another snapshot asking for it is refused. */
  readonly holdsName: boolean;
  /**
   * The effect that runs while a snapshot is in this state. `accepted`: as soon as the event that
   * led here is in line to be written, because the effect only adds to a directory of its own.
   * `durable`: not before that event is durable, because the effect destroys, or outlives a crash.
   */
  readonly effect?: { readonly name: StateEffect; readonly onceEventIs: 'accepted' | 'durable' };
  /** What a restart makes of it when nobody is waiting any more. Without it: carry on. */
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

export const snapshotMachine = setup({
  types: {
    context: {} as MachineContext,
    events: {} as MachineEvent,
    meta: {} as StateMeta,
  },
  guards: {
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
        SnapshotPreparing: { target: 'preparing', actions: 'record' },
        SnapshotSalvaged: { target: 'committed', actions: 'record' },
      },
    },
    preparing: {
      meta: {
        ...reserved,
        effect: { name: 'prepareDirectories', onceEventIs: 'accepted' },
        afterCrash: 'SnapshotAbandoned',
      },
      on: {
        SnapshotPrepared: [
          { guard: 'isView', target: 'view', actions: 'record' },
          { target: 'active', actions: 'record' },
        ],
        IdMappingStarted: { target: 'mappingIds', actions: 'record' },
        RemoteMountStarted: { target: 'mounting', actions: 'record' },
        SnapshotAbandoned: { target: 'removing', actions: 'record' },
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
        SnapshotPrepared: [
          { guard: 'isView', target: 'view', actions: 'record' },
          { target: 'active', actions: 'record' },
        ],
        SnapshotAbandoned: { target: 'removing', actions: 'record' },
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
        RemoteMounted: { target: 'mounted', actions: 'record' },
        RemoteMountFailed: { target: 'active', actions: 'record' },
        SnapshotAbandoned: { target: 'removing', actions: 'record' },
      },
    },
    mounted: {
      meta: { ...reserved, afterCrash: 'SnapshotAbandoned' },
      on: {
        SnapshotCommitted: { target: 'committed', actions: 'record' },
        SnapshotAbandoned: { target: 'removing', actions: 'record' },
      },
    },
    active: {
      meta: { shownAs: 'active', holdsName: true },
      on: {
        SnapshotCommitting: { target: 'committing', actions: 'record' },
        LabelsUpdated: { actions: 'record' },
        SnapshotRemoving: [
          { guard: 'isDeferred', target: 'awaitingCleanup', actions: 'record' },
          { target: 'removing', actions: 'record' },
        ],
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
        SnapshotCommitted: { target: 'committed', actions: 'record' },
        SnapshotCommitFailed: { target: 'active', actions: 'record' },
        LabelsUpdated: { actions: 'record' },
      },
    },
    view: {
      meta: { shownAs: 'view', holdsName: true },
      on: {
        LabelsUpdated: { actions: 'record' },
        SnapshotRemoving: [
          { guard: 'isDeferred', target: 'awaitingCleanup', actions: 'record' },
          { target: 'removing', actions: 'record' },
        ],
      },
    },
    committed: {
      initial: 'available',
      on: {
        LabelsUpdated: { actions: 'record' },
        SnapshotRemoving: [
          { guard: 'isDeferred', target: 'awaitingCleanup', actions: 'record' },
          { target: 'removing', actions: 'record' },
        ],
      },
      states: {
        available: {
          meta: committed,
          on: { LayerUnavailable: { target: 'unavailable', actions: 'record' } },
        },
        unavailable: {
          meta: { ...committed, effect: { name: 'restoreLayer', onceEventIs: 'durable' } },
          on: {
            // Another attempt failed: the same state with a new reason and a later retry.
            LayerUnavailable: { target: 'unavailable', actions: 'record' },
            LayerAvailable: { target: 'available', actions: 'record' },
          },
        },
      },
    },
    awaitingCleanup: {
      meta: hidden,
      on: { SnapshotCollecting: { target: 'removing', actions: 'record' } },
    },
    removing: {
      meta: { ...hidden, effect: { name: 'removeDirectories', onceEventIs: 'durable' } },
      on: {
        SnapshotRemovalFailed: { actions: 'record' },
        SnapshotRemoved: { target: 'removed', actions: 'record' },
      },
    },
    removed: { type: 'final', meta: hidden },
  },
});
