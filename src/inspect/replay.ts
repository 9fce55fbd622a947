/**
 * The forest as a log tells it: restored from a checkpoint's lines, then moved record by record.
 * The daemon starts with it, Cleanup decides with it, and the tools look at the past with it.
 */
import { position, streamVersion, type Position } from '../base/units.js';
import type { LogRecord } from '../log/types.js';
import { DAEMON_STREAM } from '../machines/daemon-events.js';
import { fold } from '../machines/fold.js';
import { Forest } from '../machines/forest.js';
import { decodeHead, decodeState } from '../machines/state-json.js';
import { EventNotUnderstood, understand } from '../machines/streams.js';

export class Replay {
  readonly forest = new Forest();
  /** The version the next event of the daemon's own stream gets. */
  daemonStreamVersion = 0;
  /** Everything before this position has been taken in. */
  position: Position = position(0);

  /** Begins from a checkpoint: its head, then one state a line. Throws when a line is malformed. */
  restoreLine(line: string, index: number): void {
    if (index > 0) {
      this.forest.put(decodeState(line));
      return;
    }
    const head = decodeHead(line);
    this.forest.reserveIdsBelow(head.nextId);
    this.daemonStreamVersion = head.daemonStreamVersion;
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
