/**
 * Reads each segment of the log once more when it is full, record by record, and writes down what
 * SHA-256 its records have. So a flipped bit is told of while somebody may still mend it, and a
 * later `verify` need not do the same work again. On a thread, one segment at a time, and not
 * right after a start. Nothing depends on it: what goes wrong here is tried again by the next start.
 */
import type { Subscription } from 'rxjs';
import { reasonOf } from '../base/errors.js';
import type { Clock, Disk } from '../base/ports.js';
import type { KnownHeaders } from '../log/survey.js';
import { surveySegments } from '../log/survey.js';
import type { EventLog } from '../log/types.js';
import { wishesOf, type SegmentChecker } from '../log/verify-ahead.js';
import type { DaemonEventType } from '../machines/daemon-events.js';
import type { Dispatcher } from './dispatcher.js';

/** A start, and whoever has just filled a segment, have other things to do. */
const waitMillis = 5_000;
/** Between one segment and the next, of which a log may have many that were never checked. */
const restMillis = 250;

export interface SegmentChecksOptions {
  readonly disk: Disk;
  readonly root: string;
  readonly log: Pick<EventLog, 'sealed'>;
  readonly dispatcher: Pick<Dispatcher, 'record' | 'durable'>;
  readonly clock: Clock;
  readonly checker: SegmentChecker;
  readonly onProblem: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class SegmentChecks {
  readonly #options: SegmentChecksOptions;
  readonly #subscription: Subscription;
  readonly #headers: KnownHeaders = new Map();
  /** Before it, segments were passed over that no sum can be told of. */
  #passedTo = 0;
  #cancel: (() => void) | null = null;
  #isBusy = false;
  #isAwoken = false;
  #isClosed = false;

  constructor(options: SegmentChecksOptions) {
    this.#options = options;
    this.#subscription = options.log.sealed.subscribe(() => this.#wake());
    this.#wake();
  }

  /** What is under way ends without a trace. */
  close(): void {
    this.#isClosed = true;
    this.#subscription.unsubscribe();
    this.#cancel?.();
  }

  #wake(): void {
    this.#isAwoken = true;
    if (!this.#isBusy) this.#schedule(waitMillis);
  }

  #schedule(delayMillis: number): void {
    if (this.#isClosed || this.#cancel !== null) return;
    this.#cancel = this.#options.clock.schedule(delayMillis, () => {
      this.#cancel = null;
      this.#isBusy = true;
      this.#isAwoken = false;
      this.#checkNext()
        .catch((thrown: unknown) => {
          if (!this.#isClosed) this.#tell(thrown);
          return false;
        })
        .then((goesOn) => {
          this.#isBusy = false;
          if (goesOn || this.#isAwoken) this.#schedule(restMillis);
        })
        .catch(() => undefined);
    });
  }

  #tell(thrown: unknown): void {
    this.#options.onProblem('the full segments of the log could not be checked', {
      error: reasonOf(thrown),
    });
  }

  /** False when there is no more to do. */
  async #checkNext(): Promise<boolean> {
    const { disk, root, checker, dispatcher, onProblem } = this.#options;
    const type: DaemonEventType = 'SegmentChecked';
    const { segments, faults } = await surveySegments(disk, root, null, this.#headers);
    if (faults.length > 0) return false;
    const begin = Math.max(this.#passedTo, dispatcher.durable.checkedTo);
    const wish = wishesOf(segments, [], type).find((one) => one !== null && one.position >= begin);
    if (!wish) return false;
    const sound = await checker.check(wish);
    if (this.#isClosed) return false;
    const { position: from, nextPosition: to, path } = wish;
    this.#passedTo = to;
    if (sound?.sha256) {
      const { bytes, sha256 } = sound;
      await dispatcher.record({ type, data: { from, to, bytes, sha256 } });
    } else {
      onProblem('a full segment of the log is not as it should be: see stratalog verify', { path });
    }
    return true;
  }
}
