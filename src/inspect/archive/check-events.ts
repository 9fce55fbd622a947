/**
 * Checks what byte verification cannot: that this release understands every event, that the
 * statechart allows it at its position, and that each checkpoint agrees with the log.
 */
import { isDeepStrictEqual } from 'node:util';
import { reasonOf } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { position, type Position } from '../../base/units.js';
import {
  checkpointLines,
  examineCheckpoint,
  readCheckpoint,
} from '../../log/checkpoint/checkpoint.js';
import { LogDamaged } from '../../log/errors.js';
import { listLog, logDirectory } from '../../log/files.js';
import { readIdentityIfSound } from '../../log/root/identity.js';
import { readLogBatches } from '../../log/reader.js';
import type { LogRecord } from '../../log/types.js';
import { decodeState, encodeState } from '../../machines/snapshots/state-json.js';
import { EventNotUnderstood, understand } from '../../machines/events/streams.js';
import { Replay } from './replay.js';

export type EventFindingKind =
  /** Its type or schema version is newer than this release. */
  | 'event-newer'
  /** Its body does not match the schema of its type. */
  | 'event-malformed'
  /** The statechart does not allow the event: a bug, or the log was edited. */
  | 'event-impossible'
  /** A checkpoint has other states than the events before it. */
  | 'checkpoint-differs';

export interface EventFinding {
  readonly kind: EventFindingKind;
  readonly severity: 'damage';
  /** Position of the record or of the checkpoint. */
  readonly position: Position;
  /** The stream, or the checkpoint's file name. */
  readonly subject: string;
  readonly detail: string;
}

/** A checkpoint whose file is sound. */
interface SoundCheckpoint {
  readonly name: string;
  readonly position: number;
  /** The state that startup would begin with. */
  restore(): Promise<Replay>;
  lines(): AsyncGenerator<readonly string[]>;
}

/**
 * Yields findings. Begins with the first checkpoint if early segments are retired. Reports only the
 * first finding of each stream, because it causes the later ones. Stops without an error at damage,
 * which byte verification reports.
 *
 * Fails  LogTooNew, HostFault
 */
export async function* checkEvents(
  disk: Disk,
  root: string,
): AsyncGenerator<EventFinding, void, undefined> {
  const { segments } = await listLog(disk, root);
  const checkpoints = await soundCheckpoints(disk, root);
  const check = new EventCheck(checkpoints);
  if ((segments[0]?.position ?? 0) > 0) await check.beginWithCheckpoint();
  try {
    for await (const batch of readLogBatches({ root, disk })) {
      for (const record of batch) {
        if (check.isAtCheckpoint(record)) yield* check.compareCheckpoints();
        const wrong = check.checkRecord(record);
        if (wrong !== null) yield wrong;
      }
    }
    yield* check.compareCheckpoints();
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
  }
}

class EventCheck {
  #replay = new Replay();
  /** Streams with a finding. */
  readonly #failed = new Set<string>();
  /** Not yet reached, oldest first. */
  #checkpoints: readonly SoundCheckpoint[];

  constructor(checkpoints: readonly SoundCheckpoint[]) {
    this.#checkpoints = checkpoints;
  }

  /** Otherwise every stream that began in a retired segment would be impossible. */
  async beginWithCheckpoint(): Promise<void> {
    const [first, ...rest] = this.#checkpoints;
    if (first === undefined) return;
    this.#replay = await first.restore();
    this.#replay.position = position(first.position);
    this.#checkpoints = rest;
  }

  /** Whether a checkpoint was taken right before this record. */
  isAtCheckpoint(record: LogRecord): boolean {
    const { position: at } = record;
    return at >= this.#replay.position && at === this.#checkpoints[0]?.position;
  }

  /** The finding about the event at its position, or null. */
  checkRecord(record: LogRecord): EventFinding | null {
    const { stream, position: at } = record;
    const isBefore = at < this.#replay.position;
    let wrong: EventFinding | null = null;
    if (!this.#failed.has(stream)) {
      try {
        // The checkpoint already includes these events, so only decode them.
        if (isBefore) understand(record);
        else this.#replay.apply(record);
      } catch (thrown) {
        this.#failed.add(stream);
        const kind = kindOf(thrown);
        const detail = reasonOf(thrown);
        wrong = { kind, severity: 'damage', position: at, subject: stream, detail };
      }
    }
    if (!isBefore) this.#replay.position = position(at + 1);
    return wrong;
  }

  /** Compares the checkpoints that were taken at the position reached. */
  async *compareCheckpoints(): AsyncGenerator<EventFinding, void, undefined> {
    const at = this.#replay.position;
    const here = this.#checkpoints.filter((taken) => taken.position === at);
    this.#checkpoints = this.#checkpoints.filter((taken) => taken.position > at);
    if (this.#failed.size > 0) return;
    for (const taken of here) {
      const detail = await this.#differenceTo(taken);
      if (detail === null) continue;
      const { name: subject } = taken;
      yield { kind: 'checkpoint-differs', severity: 'damage', position: at, subject, detail };
    }
  }

  async #differenceTo(taken: SoundCheckpoint): Promise<string | null> {
    let index = 0;
    try {
      for await (const slice of taken.lines()) {
        for (const line of slice) {
          if (index++ === 0) continue;
          const stored = decodeState(line);
          const state = this.#replay.forest.get(stored.id);
          if (state === undefined) return `it has snapshot ${stored.id}, but the log does not`;
          const text = encodeState(state);
          if (text === line) continue;
          if (!isDeepStrictEqual(stored, decodeState(text))) {
            return `its state of snapshot ${stored.id} differs from the log`;
          }
        }
      }
    } catch (thrown) {
      return `its lines cannot be decoded: ${reasonOf(thrown)}`;
    }
    const { size } = this.#replay.forest;
    return index - 1 === size ? null : `it has ${index - 1} snapshots, but the log has ${size}`;
  }
}

function kindOf(thrown: unknown): EventFindingKind {
  if (!(thrown instanceof EventNotUnderstood)) return 'event-impossible';
  return thrown.isNewer ? 'event-newer' : 'event-malformed';
}

async function soundCheckpoints(disk: Disk, root: string): Promise<readonly SoundCheckpoint[]> {
  const uuid = (await readIdentityIfSound(disk, root))?.uuid ?? '';
  const { checkpoints } = await listLog(disk, root);
  const sound: SoundCheckpoint[] = [];
  for (const named of checkpoints) {
    const { name, position: at } = named;
    const reading = await examineCheckpoint(disk, root, named, uuid);
    if (reading.kind === 'unusable') continue;
    const restore = async () => {
      const again = await readCheckpoint(disk, root, named, uuid);
      if (again.kind === 'unusable') throw new Error(again.reason);
      return Replay.restore(again.text);
    };
    // Keep only the offsets: the stream versions of many checkpoints would use too much memory.
    const { start, end } = reading;
    const lines = () => checkpointLines(disk, `${logDirectory(root)}/${name}`, { start, end });
    sound.push({ name, position: at, restore, lines });
  }
  return sound;
}
