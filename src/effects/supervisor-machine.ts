/**
 * The supervisor's statechart. It starts the slots, replaces one that crashes without touching the
 * others (one for one), and counts failures: too many in too short a time (the restart intensity)
 * make it `degraded`, a quiet period makes it `healthy` again. It never stops retrying by itself.
 */
import { assertEvent, assign, setup, spawnChild } from 'xstate';
import { slotMachine, type AttemptQueue, type Slot } from './slot-machine.js';

export interface FailureLimit {
  readonly failures: number;
  readonly withinMillis: number;
}

export interface SupervisorInput {
  readonly limit: FailureLimit;
  readonly monotonicMillis: () => number;
  /** The queue that a slot of this id takes its attempts from. */
  readonly queueOf: (slotId: string) => AttemptQueue;
  readonly slotCrashed: (slotId: string, slot: Slot, error: unknown) => void;
}

interface SupervisorContext extends SupervisorInput {
  /** When the most recent failures were, oldest first; no more than the limit. */
  readonly failedAt: readonly number[];
}

interface SlotCrashed {
  readonly type: `xstate.error.actor.${string}`;
  readonly actorId: string;
  readonly error: unknown;
}

type SupervisorEvent =
  | { readonly type: 'SlotNeeded'; readonly slotId: string }
  | { readonly type: 'EffectFailed' }
  | { readonly type: 'Closed' }
  | SlotCrashed;

const recentFailures = ({ limit, failedAt, monotonicMillis }: SupervisorContext) => {
  const now = monotonicMillis();
  return [...failedAt.filter((at) => now - at < limit.withinMillis), now].slice(-limit.failures);
};

function slotIdIn(event: SupervisorEvent): string {
  assertEvent(event, ['SlotNeeded', 'xstate.error.actor.*']);
  return event.type === 'SlotNeeded' ? event.slotId : event.actorId;
}

export const supervisorMachine = setup({
  types: {
    context: {} as SupervisorContext,
    events: {} as SupervisorEvent,
    input: {} as SupervisorInput,
  },
  actors: { slot: slotMachine },
  guards: {
    tooManyFailures: ({ context }) => recentFailures(context).length >= context.limit.failures,
  },
  delays: {
    quietPeriod: ({ context }) => context.limit.withinMillis + 1,
  },
  actions: {
    countFailure: assign(({ context }) => ({ failedAt: recentFailures(context) })),
    startSlot: spawnChild('slot', {
      id: ({ event }) => slotIdIn(event),
      input: ({ context, event }) => context.queueOf(slotIdIn(event)),
    }),
    reportCrash: ({ context, event, self }) => {
      assertEvent(event, 'xstate.error.actor.*');
      const slot = self.getSnapshot().children[event.actorId];
      if (slot !== undefined) context.slotCrashed(event.actorId, slot, event.error);
    },
  },
}).createMachine({
  id: 'supervisor',
  context: ({ input }) => ({ ...input, failedAt: [] }),
  initial: 'healthy',
  on: {
    SlotNeeded: { actions: 'startSlot' },
    'xstate.error.actor.*': { actions: ['reportCrash', 'startSlot'] },
    Closed: '.closed',
  },
  states: {
    healthy: {
      on: {
        EffectFailed: [
          { guard: 'tooManyFailures', target: 'degraded', actions: 'countFailure' },
          { actions: 'countFailure' },
        ],
      },
    },
    degraded: {
      after: { quietPeriod: 'healthy' },
      on: {
        EffectFailed: { target: 'degraded', reenter: true, actions: 'countFailure' },
      },
    },
    closed: {},
  },
});
