/**
 * Reads each segment of the log once more when it is full, record by record, and writes down what
 * SHA-256 its records have. So a flipped bit is reported while it can still be repaired, and a
 * later `verify` need not do the same work again. On a thread, one segment at a time, and not
 * right after a start; only where one is not plainly sound is it read here, a piece at a time, to
 * say why. Nothing depends on it: what goes wrong here is tried again by the next start.
 */
import type { Subscription } from 'rxjs';
import { reasonOf } from '../base/errors.js';
import type { Clock, Disk } from '../base/ports.js';
import { LogDamaged } from '../log/errors.js';
import { withFile } from '../log/files.js';
import { keepHouse } from '../log/housekeeping/housekeeper.js';
import { requireSound } from '../log/read/log-end.js';
import { listSegments, type KnownHeaders, type ListedSegment } from '../log/read/segment-list.js';
import type { EventLog } from '../log/types.js';
import { queriesOf, type SegmentChecker } from '../log/verify/verify-ahead.js';
import type { DaemonEventType } from '../machines/events/daemon-events.js';
import type { Dispatcher } from './dispatcher.js';

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
  readonly #housekeeping: Subscription;
  readonly #headers: KnownHeaders = new Map();
  /** Before it, segments were checked, or skipped because they cannot have a digest. */
  #passedTo = 0;
  #isClosed = false;
  /** The last error reported: lasting damage would be reported again for each full segment. */
  #reported = '';

  constructor(options: SegmentChecksOptions) {
    this.#options = options;
    this.#housekeeping = keepHouse(options.log.sealed, options.clock, () =>
      this.#checkNext().catch((thrown: unknown) => {
        if (!this.#isClosed) this.#tell(thrown);
        return false;
      }),
    );
  }

  /** What is under way ends without a trace. */
  close(): void {
    this.#isClosed = true;
    this.#housekeeping.unsubscribe();
  }

  #tell(thrown: unknown): void {
    this.#options.onProblem('the full segments of the log could not be checked', {
      error: reasonOf(thrown),
    });
  }

  #tellDamage(error: string): void {
    if (this.#isClosed || error === this.#reported) return;
    this.#reported = error;
    this.#options.onProblem('a full segment of the log is damaged', { error });
  }

  /** False when there is no more to do. */
  async #checkNext(): Promise<boolean> {
    const { disk, root, checker, dispatcher } = this.#options;
    const type: DaemonEventType = 'SegmentChecked';
    const { segments, faults } = await listSegments(disk, root, null, this.#headers);
    const [badHeader] = faults;
    if (badHeader !== undefined) {
      this.#tellDamage(`${badHeader.segment}: ${badHeader.found}`);
      return false;
    }
    const begin = Math.max(this.#passedTo, this.#checkedTo(segments));
    const queries = queriesOf(segments, [], type);
    const index = queries.findIndex((one) => one !== null && one.position >= begin);
    const query = queries[index];
    if (!query) return false;
    const sound = await checker.check(query);
    const { position: from, nextPosition: to } = query;
    if (sound !== null) {
      if (this.#isClosed) return false;
      const { bytes, sha256 } = sound;
      await dispatcher.record({ type, data: { from, to, bytes, sha256 } });
    } else {
      const fault = await this.#faultOf(segments, index);
      if (this.#isClosed) return false;
      if (fault !== null) {
        // The segments behind it wait, and the next start warns again.
        this.#tellDamage(fault);
        return false;
      }
    }
    this.#passedTo = to;
    return true;
  }

  /** No event can truly tell of the newest segment. */
  #checkedTo(segments: readonly ListedSegment[]): number {
    const { checkedTo } = this.#options.dispatcher.durable;
    return checkedTo <= (segments.at(-1)?.header.firstPosition ?? 0) ? checkedTo : 0;
  }

  /** Reads slowly what was not plainly sound. Null for what is only unusual: the clock was set back. */
  async #faultOf(segments: readonly ListedSegment[], index: number): Promise<string | null> {
    const [segment, next] = [segments[index], segments[index + 1]];
    if (!segment || !next) return null;
    try {
      await withFile(this.#options.disk, segment.path, 'read', (file) =>
        requireSound(file, segment, next),
      );
      return null;
    } catch (thrown) {
      if (thrown instanceof LogDamaged) return thrown.message;
      throw thrown;
    }
  }
}
