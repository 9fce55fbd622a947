/**
 * Projects a log to a forest: restores a checkpoint, then applies record by record. Used by the
 * startup of the daemon, by Cleanup and by the tools.
 */
import { reasonOf } from '../../base/errors.js';
import { position, streamVersion, type Position } from '../../base/units.js';
import type { CheckpointText } from '../../log/checkpoint/checkpoint.js';
import { CheckpointUnusable } from '../../log/errors.js';
import type { LogRecord } from '../../log/types.js';
import { DAEMON_STREAM } from '../../machines/events/daemon-events.js';
import { fold } from '../../machines/fold.js';
import { Forest } from '../../machines/snapshots/forest.js';
import { PackedStates } from '../../machines/snapshots/packed-states.js';
import { decodeHead } from '../../machines/snapshots/state-json.js';
import { EventNotUnderstood, understand } from '../../machines/events/streams.js';

export class Replay {
  readonly forest: Forest;
  /** Version of the next event in the daemon's stream. */
  daemonStreamVersion = 0;
  /** All records before this position have been applied. */
  position: Position = position(0);

  constructor(forest = new Forest()) {
    this.forest = forest;
  }

  /**
   * Begins with a checkpoint: its head, then one state per line. States stay packed until used, so
   * only malformed parts of what is read here are noticed.
   *
   * Fails  CheckpointUnusable
   */
  static async restore(text: CheckpointText, at = position(0)): Promise<Replay> {
    try {
      const replay = await Replay.#restore(text);
      replay.position = at;
      return replay;
    } catch (cause) {
      throw new CheckpointUnusable(reasonOf(cause), { cause });
    }
  }

  static async #restore({ bytes, lines }: CheckpointText): Promise<Replay> {
    const end = bytes.indexOf('\n');
    const head = decodeHead(bytes.toString('utf8', 0, Math.max(end, 0)));
    const packed = await PackedStates.index(bytes.subarray(end + 1), lines - 1);
    const replay = new Replay(new Forest(packed));
    replay.forest.reserveIdsBelow(head.nextId);
    replay.forest.reservePreallocated(head.preallocated);
    const { setAside, released } = head;
    replay.forest.restoreSetAside(
      setAside.map(([name, because, evidence]) => [name, { because, evidence }]),
      released,
    );
    replay.forest.logCheckedTo(head.checkedTo);
    replay.daemonStreamVersion = head.daemonStreamVersion;
    return replay;
  }

  /** Throws EventNotUnderstood or InvariantBroken, with the record's position in the message. */
  apply(record: LogRecord): void {
    try {
      this.#apply(record);
    } catch (cause) {
      if (!(cause instanceof Error)) throw cause;
      cause.message = `at position ${record.position}: ${cause.message}`;
      throw cause;
    }
    this.position = position(record.position + 1);
  }

  #apply(record: LogRecord): void {
    const understood = understand(record);
    if (record.stream === DAEMON_STREAM) {
      this.daemonStreamVersion = record.streamVersion + 1;
      if (understood.about === 'daemon') this.forest.takeIn(understood.event);
      return;
    }
    if (understood.about !== 'snapshot') {
      throw new EventNotUnderstood(`${record.type} in the stream ${record.stream}`, false);
    }
    const { id, event } = understood;
    const state = this.forest.get(id) ?? null;
    this.forest.put(
      fold(state, { event, time: record.time, streamVersion: streamVersion(record.streamVersion) }),
    );
  }
}
