/**
 * The forest as a log tells it: restored from a checkpoint, then moved record by record.
 * The daemon starts with it, Cleanup decides with it, and the tools look at the past with it.
 */
import { position, streamVersion, type Position } from '../../base/units.js';
import type { CheckpointText } from '../../log/checkpoint/checkpoint.js';
import type { LogRecord } from '../../log/types.js';
import { DAEMON_STREAM } from '../../machines/events/daemon-events.js';
import { fold } from '../../machines/fold.js';
import { Forest } from '../../machines/snapshots/forest.js';
import { PackedStates } from '../../machines/snapshots/packed-states.js';
import { decodeHead } from '../../machines/snapshots/state-json.js';
import { EventNotUnderstood, understand } from '../../machines/events/streams.js';

export class Replay {
  readonly forest: Forest;
  /** The version the next event of the daemon's own stream gets. */
  daemonStreamVersion = 0;
  /** Everything before this position has been taken in. */
  position: Position = position(0);

  constructor(forest = new Forest()) {
    this.forest = forest;
  }

  /**
   * Begins from a checkpoint: its head, then one state a line, which stay packed until they are
   * asked for. Throws when a line is malformed as far as it is looked at.
   */
  static async restore({ bytes, lines }: CheckpointText): Promise<Replay> {
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
      throw new EventNotUnderstood(`${record.type} stands in ${record.stream}`, false);
    }
    const { id, event } = understood;
    const state = this.forest.get(id) ?? null;
    this.forest.put(
      fold(state, { event, time: record.time, streamVersion: streamVersion(record.streamVersion) }),
    );
  }
}
