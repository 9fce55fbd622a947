/** A replay that an opening log fills: handed to `openLog`, it takes in what the log says. */
import { reasonOf } from '../../base/errors.js';
import type { Position } from '../../base/units.js';
import type { CheckpointText } from '../../log/checkpoint/checkpoint.js';
import { CheckpointUnusable, LogTooNew } from '../../log/errors.js';
import type { ReplayCallbacks } from '../../log/read/replay-to-end.js';
import type { LogRecord, RecordOrigin } from '../../log/types.js';
import { EventNotUnderstood } from '../../machines/events/streams.js';
import { Replay } from './replay.js';

export class OpeningReplay implements ReplayCallbacks {
  /** What was taken in so far. A checkpoint begins another one. */
  replay = new Replay();

  /** Fails with CheckpointUnusable: the log then tries an older one. */
  readonly onCheckpoint = async (text: CheckpointText, at: Position): Promise<void> => {
    try {
      this.replay = await Replay.restore(text);
      this.replay.position = at;
    } catch (cause) {
      throw new CheckpointUnusable(reasonOf(cause), { cause });
    }
  };

  /** Throws LogTooNew for an event of a later release; else as `Replay.apply`. */
  readonly onRecords = (batch: readonly LogRecord[], origin: RecordOrigin): void => {
    try {
      for (const record of batch) this.replay.apply(record);
    } catch (thrown) {
      if (!(thrown instanceof EventNotUnderstood) || !thrown.isNewer) throw thrown;
      throw new LogTooNew(`an event (${thrown.message})`, origin.writtenBy);
    }
  };
}
