/** Builds a replay while a log is opened: pass its callbacks to `openLog`. */
import type { Position } from '../../base/units.js';
import type { CheckpointText } from '../../log/checkpoint/checkpoint.js';
import { LogTooNew } from '../../log/errors.js';
import type { ReplayCallbacks } from '../../log/read/replay-to-end.js';
import type { LogRecord, RecordOrigin } from '../../log/types.js';
import { EventNotUnderstood } from '../../machines/events/streams.js';
import { Replay } from './replay.js';

export class OpeningReplay implements ReplayCallbacks {
  /** The replay so far. A checkpoint replaces it. */
  replay = new Replay();

  /** Fails with CheckpointUnusable, and then the log tries an older one. */
  readonly onCheckpoint = async (text: CheckpointText, at: Position): Promise<void> => {
    this.replay = await Replay.restore(text, at);
  };

  /** Throws LogTooNew for an event of a newer release; otherwise throws as `Replay.apply`. */
  readonly onRecords = (batch: readonly LogRecord[], origin: RecordOrigin): void => {
    try {
      for (const record of batch) this.replay.apply(record);
    } catch (thrown) {
      if (!(thrown instanceof EventNotUnderstood) || !thrown.isNewer) throw thrown;
      throw new LogTooNew(`an event (${thrown.message})`, origin.writtenBy);
    }
  };
}
