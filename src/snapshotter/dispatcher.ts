/**
 * The loop of the program: decide → append → move → effect, the same for every command, whether
 * it came from a client, from an effect that ended, or from a restart. Read this twice.
 *
 * Two forests: a command is decided on the *accepted* one, which moves as soon as an event is in
 * line to be written; clients are answered from the *durable* one, which moves when it is on
 * disk. If the disk fails in between, the log is read-only and no client has seen the rest.
 */
import type { Subscription } from 'rxjs';
import { assert } from '../base/assert.js';
import { LogReadOnly } from '../base/errors.js';
import { refuse, ok, type Result } from '../base/result.js';
import type { Clock } from '../base/ports.js';
import {
  position,
  streamVersion,
  type Position,
  type SnapshotId,
  type UnixNanos,
} from '../base/units.js';
import { daemonDrafts } from '../inspect/events/owner-records.js';
import type { EventLog, EventToAppend, LogRecord } from '../log/types.js';
import { metaOf } from '../machines/transition-table.js';
import type { Command } from '../machines/commands.js';
import type { DaemonEvent } from '../machines/events/daemon-events.js';
import { decide } from '../machines/decide.js';
import {
  encodeSnapshotEvent,
  endsLife,
  SNAPSHOT_EVENTS,
  type SnapshotEvent,
} from '../machines/events/events.js';
import { fold, type SnapshotState } from '../machines/fold.js';
import type { Forest } from '../machines/snapshots/forest.js';
import type { Refusal } from '../machines/refusals.js';
import { streamOf } from '../machines/events/streams.js';

/** What the dispatcher reports to the runner of effects. */
export interface EffectRunner {
  /** The snapshot is in this state; its effect, if any, may begin. */
  entered(state: SnapshotState): void;
}

/** A state, and the event that led to it. */
export interface Settled {
  readonly state: SnapshotState;
  readonly event: SnapshotEvent;
}

export interface Accepted extends Settled {
  /** Resolves when the events are durable; rejects with LogReadOnly. Need not be awaited. */
  readonly durable: Promise<void>;
}

interface Pending extends Settled {
  readonly durable: Promise<void>;
  readonly position: Position;
}

interface Waiter {
  readonly after: number;
  readonly resolve: (settled: Settled) => void;
  readonly reject: (fault: Error) => void;
}

/** How long an event that no caller waits for may stay out of the log. */
const unwrittenMillisMax = 100;

export interface DispatcherOptions {
  readonly log: EventLog;
  readonly clock: Pick<Clock, 'now' | 'schedule'>;
  readonly accepted: Forest;
  readonly durable: Forest;
  readonly runner: EffectRunner;
  readonly daemonStreamVersion: number;
}

/** Why everything fails that is under way when the snapshotter is closed. */
export const SNAPSHOTTER_CLOSED = 'the snapshotter is closed';

export class Dispatcher {
  readonly accepted: Forest;
  readonly durable: Forest;
  readonly #log: EventLog;
  readonly #clock: Pick<Clock, 'now' | 'schedule'>;
  #cancelFlush: (() => void) | null = null;
  readonly #runner: EffectRunner;
  readonly #subscription: Subscription;
  /** States whose events are in line but not yet durable, oldest first. */
  #pending: Pending[] = [];
  #pendingOfDaemon: { readonly position: Position; readonly event: DaemonEvent }[] = [];
  readonly #waiters = new Map<SnapshotId, Waiter[]>();
  #fault: Error | null = null;
  #daemonStreamVersion: number;
  #durableDaemonStreamVersion: number;

  constructor(options: DispatcherOptions) {
    this.accepted = options.accepted;
    this.durable = options.durable;
    this.#log = options.log;
    this.#clock = options.clock;
    this.#runner = options.runner;
    this.#daemonStreamVersion = options.daemonStreamVersion;
    this.#durableDaemonStreamVersion = options.daemonStreamVersion;
    this.#subscription = options.log.durableBatches.subscribe((records) => this.#advance(records));
    this.#subscription.add(options.log.failures.subscribe((fault) => this.giveUp(fault)));
  }

  /** To be awaited before a command that makes something more; see EventLog. */
  roomToGrow(): Promise<void> | null {
    return this.#log.roomToGrow();
  }

  /** Decides a command about the snapshot that holds a name, and accepts its events. */
  execute(state: SnapshotState | null, command: Command): Result<Accepted, Refusal> {
    this.#throwIfGivenUp();
    const decision = decide(this.accepted, state, command);
    if (!decision.ok) return refuse(decision.refusal);
    return ok(this.#accept(state, decision.value));
  }

  /** The same for a snapshot that is known by its id; null when nothing had to happen. */
  report(id: SnapshotId, command: Command): Result<Accepted | null, Refusal> {
    this.#throwIfGivenUp();
    const state = this.accepted.get(id) ?? null;
    const decision = decide(this.accepted, state, command);
    if (!decision.ok) return refuse(decision.refusal);
    if (decision.value.length === 0) return ok(null);
    return ok(this.#accept(state, decision.value));
  }

  /** Appends events of the daemon itself. Resolves when they are durable. */
  async record(...events: readonly DaemonEvent[]): Promise<void> {
    const drafts = daemonDrafts(events, this.#daemonStreamVersion);
    const { records, durable } = this.#log.append(drafts, { sync: true });
    this.#daemonStreamVersion += events.length;
    for (const [index, event] of events.entries()) {
      const record = records[index];
      assert(record !== undefined, 'the log answers a record for each event');
      this.accepted.takeIn(event);
      this.#pendingOfDaemon.push({ position: record.position, event });
    }
    await durable;
  }

  /**
   * The durable state in which the snapshot next comes to rest after the given one, or is on its
   * way out. What was in line before the given state does not count. Rejects when the log fails:
   * then it will never come to rest.
   */
  settled({ id, streamVersion: after }: SnapshotState): Promise<Settled> {
    return new Promise((resolve, reject) => {
      const waiter = { after, resolve, reject };
      this.#waiters.set(id, [...(this.#waiters.get(id) ?? []), waiter]);
    });
  }

  /** Resolves when what is accepted of a snapshot now is durable. */
  async durableOf(id: SnapshotId): Promise<void> {
    await this.#pending.findLast(({ state }) => state.id === id)?.durable;
  }

  /** The next version of the daemon's own stream, counting durable events alone. */
  get durableDaemonStreamVersion(): number {
    return this.#durableDaemonStreamVersion;
  }

  /** Everything before this position is contained in `durable`. */
  get durablePosition(): Position {
    return this.#log.durablePosition;
  }

  /** Makes durable what is accepted by now. Rejects with LogReadOnly. */
  async flush(): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    await this.#log.flush();
  }

  /** Rejects all callers that wait, and all later ones. */
  giveUp(fault: Error): void {
    this.#fault ??= fault;
    for (const { reject } of [...this.#waiters.values()].flat()) reject(fault);
    this.#waiters.clear();
  }

  close(): void {
    this.#cancelFlush?.();
    this.#subscription.unsubscribe();
    this.giveUp(new LogReadOnly(SNAPSHOTTER_CLOSED));
  }

  /** A refusal could rest on what was in line and will never be. */
  #throwIfGivenUp(): void {
    if (this.#fault !== null) throw this.#fault;
  }

  #accept(before: SnapshotState | null, events: readonly SnapshotEvent[]): Accepted {
    // Folded first, so that an impossible event is never written.
    const time = this.#clock.now();
    const state = foldAll(before, events, time);
    // No caller waits for an intent, or for the end of a snapshot that is invisible: the next durable
    // event carries them along. After a crash the effect is simply run again.
    const isLast = state.status === 'removed';
    const isIntent =
      state.status !== before?.status && metaOf(state.status).effect?.onceEventIs === 'accepted';
    const { records, durable } = this.#log.append(toDrafts(before, events, state, time), {
      sync: !isIntent && !isLast,
    });
    durable.catch(() => undefined);
    this.accepted.put(state);
    const lastRecord = records.at(-1);
    assert(
      lastRecord?.streamVersion === state.streamVersion,
      'the log answers a record for each event',
    );
    const event = events.at(-1);
    assert(event !== undefined, 'a decision has at least one event');
    this.#pending.push({ durable, position: lastRecord.position, state, event });
    if (isIntent) this.#runner.entered(state);
    if (isLast) this.#flushSoon();
    return { state, event, durable };
  }

  #flushSoon(): void {
    this.#cancelFlush ??= this.#clock.schedule(unwrittenMillisMax, () => {
      // A log that cannot be written tells everybody itself.
      this.flush().catch(() => undefined);
    });
  }

  /** Moves the durable forest to what is now on disk, and lets the outside know. */
  #advance(records: readonly LogRecord[]): void {
    const last = records.at(-1);
    if (last === undefined) return;
    const after = position(last.position + 1);
    for (const { event } of takeBefore(this.#pendingOfDaemon, after)) {
      this.#durableDaemonStreamVersion += 1;
      this.durable.takeIn(event);
    }
    const durable = takeBefore(this.#pending, after);
    for (const { state } of durable) this.durable.put(state);
    for (const { state, event } of durable) {
      const { effect, afterCrash } = metaOf(state.status);
      const mayBegin = effect?.onceEventIs !== 'accepted';
      // When a later event is in line already, its own entry speaks for the snapshot.
      const isNewest = this.accepted.get(state.id) === state || state.status === 'removed';
      if (mayBegin && isNewest) this.#runner.entered(state);
      // What a crash would undo is not at rest.
      if (afterCrash === undefined) this.#resolveWaiters({ state, event });
    }
  }

  #resolveWaiters(settled: Settled): void {
    const { state } = settled;
    const waiters = this.#waiters.get(state.id);
    if (waiters === undefined) return;
    const due = waiters.filter(({ after }) => state.streamVersion > after);
    const early = waiters.filter(({ after }) => state.streamVersion <= after);
    if (early.length === 0) this.#waiters.delete(state.id);
    else this.#waiters.set(state.id, early);
    for (const { resolve } of due) resolve(settled);
  }
}

function foldAll(
  before: SnapshotState | null,
  events: readonly SnapshotEvent[],
  time: UnixNanos,
): SnapshotState {
  let state = before;
  for (const event of events) {
    const version = streamVersion(state === null ? 0 : state.streamVersion + 1);
    state = fold(state, { event, time, streamVersion: version });
  }
  assert(state !== null && state !== before, 'a decision has at least one event');
  return state;
}

function toDrafts(
  before: SnapshotState | null,
  events: readonly SnapshotEvent[],
  after: SnapshotState,
  time: UnixNanos,
): readonly EventToAppend[] {
  const firstVersion = before === null ? 0 : before.streamVersion + 1;
  return events.map((event, index) => ({
    stream: streamOf(after.id),
    expectedVersion: streamVersion(firstVersion + index),
    type: event.type,
    schemaVersion: SNAPSHOT_EVENTS[event.type].version,
    data: encodeSnapshotEvent(event),
    time,
    closesStream: endsLife(event),
  }));
}

/** Takes what stands before a position out of a list that is in the log's order. */
function takeBefore<Entry extends { readonly position: Position }>(
  entries: Entry[],
  end: Position,
): readonly Entry[] {
  const reached = entries.findIndex((entry) => entry.position >= end);
  return entries.splice(0, reached === -1 ? entries.length : reached);
}
