/**
 * Takes a checkpoint of the durable forest after so many events, and at an orderly stop. It is
 * never needed: a start without one replays more.
 */
import type { Subscription } from 'rxjs';
import { reasonOf } from '../base/errors.js';
import { unixNanos, type Position } from '../base/units.js';
import { checkpointLines } from '../inspect/events/owner-records.js';
import type { EventLog } from '../log/types.js';
import { headOf } from '../machines/snapshots/state-json.js';
import type { ClockWatch } from './clock/clock-watch.js';
import type { Dispatcher } from './dispatcher.js';
import type { SnapshotterSettings } from './settings.js';

export interface CheckpointingOptions {
  readonly log: EventLog;
  readonly dispatcher: Dispatcher;
  readonly settings: SnapshotterSettings;
  readonly clockWatch: ClockWatch;
  readonly observer: {
    warning(message: string, fields: Readonly<Record<string, unknown>>): void;
  };
}

export class Checkpointing {
  readonly #options: CheckpointingOptions;
  readonly #subscription: Subscription;
  /** Segments that begin below were begun by earlier processes. */
  readonly #from: Position;
  #eventsSince = 0;
  #taking: Promise<void> | null = null;

  constructor(options: CheckpointingOptions) {
    this.#options = options;
    this.#from = options.log.nextPosition;
    this.#subscription = options.log.durableBatches.subscribe((records) => {
      this.#eventsSince += records.length;
      if (this.#eventsSince < options.settings.checkpointEveryEvents || this.#taking) return;
      this.#taking = this.takeNow()
        .catch((thrown: unknown) => {
          options.observer.warning('a checkpoint could not be written', {
            error: reasonOf(thrown),
          });
        })
        .finally(() => {
          this.#taking = null;
        });
    });
  }

  /** Writes a checkpoint of what is durable now. */
  async takeNow(): Promise<void> {
    const { log, dispatcher } = this.#options;
    this.#eventsSince = 0;
    // Taken in one step: it stays as it is however long writing takes.
    const cut = dispatcher.durable.cut();
    const at = dispatcher.durablePosition;
    const head = headOf(dispatcher.durable, dispatcher.durableDaemonStreamVersion);
    await log.writeCheckpoint({ position: at, lines: checkpointLines(head, cut) });
    await dispatcher.record({
      type: 'CheckpointTaken',
      data: { position: at, snapshots: cut.size },
    });
    await this.#retire();
  }

  /**
   * Drops history that is over its time, but never what the older checkpoint still needs. What is
   * dropped cannot be brought back, so only a settled time decides.
   */
  async #retire(): Promise<void> {
    const { log, dispatcher, settings, clockWatch } = this.#options;
    if (settings.retainMillis === null) return;
    const before = (await log.checkpoints()).at(-2);
    if (before === undefined) return;
    const now = await clockWatch.settledTime(log.begunTimes(this.#from));
    if (now === null) return;
    const writtenBefore = unixNanos(now - BigInt(settings.retainMillis) * 1_000_000n);
    const segments = await log.retire(before, { writtenBefore, now });
    if (segments.length === 0) return;
    await dispatcher.record({ type: 'SegmentsRetired', data: { before, segments: [...segments] } });
  }

  /** Takes no more; settles when the one under way is done. */
  async close(): Promise<void> {
    this.#subscription.unsubscribe();
    await this.#taking;
  }
}
