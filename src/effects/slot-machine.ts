/**
 * A slot: one unit of the concurrency of a kind of effect, as a long-lived actor. It runs one
 * attempt after another, each within its time limit. Work that ignores its abort signal keeps the
 * slot until it really ends, so a file system that hangs holds at most the slots of its kind.
 */
import { assign, setup } from 'xstate';

/** What a slot runs, and where it reports. */
export interface Attempt {
  readonly timeLimitMillis: number;
  /** Starts the work. A synchronous throw crashes the slot, which its supervisor replaces. */
  begin(slot: Slot, signal: AbortSignal): Promise<unknown>;
  succeeded(value: unknown): void;
  failed(thrown: unknown): void;
  /** The limit has passed; the work goes on. */
  timedOut(): void;
  /** The work of an attempt that timed out or was stopped has ended. */
  workEnded(): void;
  /** Its slot's actor failed. False if that is no fault of the work: it was over, or not begun. */
  crashed(error: unknown): boolean;
}

/** Where an idle slot finds its next attempt. */
export interface AttemptQueue {
  /** Null if no attempt waits: the slot is then kept, and assigned one later. */
  next(slot: Slot): Attempt | null;
}

export type SlotEvent =
  | { readonly type: 'Assigned'; readonly attempt: Attempt }
  | { readonly type: 'Succeeded'; readonly value: unknown }
  | { readonly type: 'Failed'; readonly thrown: unknown }
  | { readonly type: 'Stopped' };

/** A slot's actor, as far as attempts and their queue need it. */
export interface Slot {
  send(event: SlotEvent): void;
}

export interface SlotContext {
  readonly queue: AttemptQueue;
  readonly attempt: Attempt | null;
  readonly abort: AbortController;
}

export const slotMachine = setup({
  types: {
    context: {} as SlotContext,
    events: {} as SlotEvent,
    input: {} as AttemptQueue,
  },
  delays: {
    timeLimit: ({ context }) => context.attempt?.timeLimitMillis ?? 0,
  },
  actions: {
    takeNext: ({ context, self }) => {
      const attempt = context.queue.next(self);
      if (attempt !== null) self.send({ type: 'Assigned', attempt });
    },
    begin: ({ context, self }) => {
      context.attempt?.begin(self, context.abort.signal).then(
        (value) => self.send({ type: 'Succeeded', value }),
        (thrown: unknown) => self.send({ type: 'Failed', thrown }),
      );
    },
    abort: ({ context }) => context.abort.abort(),
    reportTimeout: ({ context }) => context.attempt?.timedOut(),
    reportEnd: ({ context }) => context.attempt?.workEnded(),
  },
}).createMachine({
  id: 'slot',
  context: ({ input }) => ({ queue: input, attempt: null, abort: new AbortController() }),
  initial: 'idle',
  states: {
    idle: {
      entry: 'takeNext',
      on: {
        Assigned: {
          target: 'running',
          actions: assign(({ event }) => ({
            attempt: event.attempt,
            abort: new AbortController(),
          })),
        },
      },
    },
    running: {
      entry: 'begin',
      after: { timeLimit: { target: 'overdue', actions: ['abort', 'reportTimeout'] } },
      on: {
        Succeeded: {
          target: 'idle',
          actions: ({ context, event }) => context.attempt?.succeeded(event.value),
        },
        Failed: {
          target: 'idle',
          actions: ({ context, event }) => context.attempt?.failed(event.thrown),
        },
        Stopped: { target: 'overdue', actions: 'abort' },
      },
    },
    overdue: {
      on: {
        Succeeded: { target: 'idle', actions: 'reportEnd' },
        Failed: { target: 'idle', actions: 'reportEnd' },
      },
    },
  },
});
