/**
 * The supervisor's own statechart: too many failures in too short a time make it `degraded`,
 * quiet makes it `healthy` again. It never stops anything: a crash loop helps nobody.
 */
import { assign, setup } from 'xstate';

export interface FailureLimit {
  readonly failures: number;
  readonly withinMillis: number;
}

interface HealthContext {
  readonly limit: FailureLimit;
  /** When the most recent failures were, oldest first; no more than the limit. */
  readonly failedAt: readonly number[];
}

type HealthEvent =
  | { readonly type: 'EffectFailed'; readonly atMillis: number }
  | { readonly type: 'TimePassed'; readonly atMillis: number };

export const healthMachine = setup({
  types: {
    context: {} as HealthContext,
    events: {} as HealthEvent,
    input: {} as FailureLimit,
  },
  guards: {
    tooMany: ({ context, event }) => isOverLimit(recent(context, event), context.limit),
    quiet: ({ context, event }) => !isOverLimit(recent(context, event), context.limit),
  },
  actions: {
    remember: assign(({ context, event }) => ({ failedAt: recent(context, event) })),
  },
}).createMachine({
  id: 'supervisor',
  context: ({ input }) => ({ limit: input, failedAt: [] }),
  initial: 'healthy',
  states: {
    healthy: {
      on: {
        EffectFailed: [
          { guard: 'tooMany', target: 'degraded', actions: 'remember' },
          { actions: 'remember' },
        ],
      },
    },
    degraded: {
      on: {
        EffectFailed: { actions: 'remember' },
        TimePassed: { guard: 'quiet', target: 'healthy', actions: 'remember' },
      },
    },
  },
});

function recent(context: HealthContext, event: HealthEvent): readonly number[] {
  const { failures, withinMillis } = context.limit;
  const still = context.failedAt.filter((at) => event.atMillis - at < withinMillis);
  const all = event.type === 'EffectFailed' ? [...still, event.atMillis] : still;
  return all.slice(-failures);
}

function isOverLimit(failedAt: readonly number[], limit: FailureLimit): boolean {
  return failedAt.length >= limit.failures;
}
