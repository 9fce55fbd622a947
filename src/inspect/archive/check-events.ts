/**
 * Checks what verifying the bytes cannot: that every event is one this release understands, that
 * the statechart allows it where it stands, and that each checkpoint says what the log says.
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
  /** Its body is not what its type promises. */
  | 'event-malformed'
  /** The statechart has no such step: this program and the log disagree about what can happen. */
  | 'event-impossible'
  /** A checkpoint holds other states than the events before it lead to. */
  | 'checkpoint-differs';

export interface EventFinding {
  readonly kind: EventFindingKind;
  readonly severity: 'damage';
  /** The record it is about; of a checkpoint, its position. */
  readonly position: Position;
  /** The stream, or the checkpoint's file name. */
  readonly subject: string;
  readonly detail: string;
}

/** A checkpoint that is sound as a file. */
interface Taken {
  readonly name: string;
  readonly position: number;
  /** What a start would begin with. */
  restore(): Promise<Replay>;
  lines(): AsyncGenerator<readonly string[]>;
}

/**
 * Findings as they are made. Begins with the first checkpoint where early segments were retired.
 * Of each stream only the first finding is told: what follows it follows from it. Ends quietly at
 * damage, which verifying the bytes reports.
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
        const wrong = check.take(record);
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
  /** Streams that were found wrong once. */
  readonly #spoiled = new Set<string>();
  /** Not yet reached, oldest first. */
  #checkpoints: readonly Taken[];

  constructor(checkpoints: readonly Taken[]) {
    this.#checkpoints = checkpoints;
  }

  /** Without one, every stream that was begun in a retired segment would look impossible. */
  async beginWithCheckpoint(): Promise<void> {
    const [first, ...rest] = this.#checkpoints;
    if (first === undefined) return;
    this.#replay = await first.restore();
    this.#replay.position = position(first.position);
    this.#checkpoints = rest;
  }

  /** Whether one was taken before this record. A replay that begins with one is there already. */
  isAtCheckpoint(record: LogRecord): boolean {
    const { position: at } = record;
    return at >= this.#replay.position && at === this.#checkpoints[0]?.position;
  }

  /** What is wrong with the event where it stands; null for nothing. */
  take(record: LogRecord): EventFinding | null {
    const { stream, position: at } = record;
    const isBefore = at < this.#replay.position;
    let wrong: EventFinding | null = null;
    if (!this.#spoiled.has(stream)) {
      try {
        // What the checkpoint knows already need only be understood.
        if (isBefore) understand(record);
        else this.#replay.apply(record);
      } catch (thrown) {
        this.#spoiled.add(stream);
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
    if (this.#spoiled.size > 0) return;
    for (const taken of here) {
      const detail = await this.#differenceTo(taken);
      if (detail === null) continue;
      const { name: subject } = taken;
      yield { kind: 'checkpoint-differs', severity: 'damage', position: at, subject, detail };
    }
  }

  async #differenceTo(taken: Taken): Promise<string | null> {
    let index = 0;
    try {
      for await (const slice of taken.lines()) {
        for (const line of slice) {
          if (index++ === 0) continue;
          const said = decodeState(line);
          const state = this.#replay.forest.get(said.id);
          if (state === undefined) return `it has snapshot ${said.id}, which the log has not`;
          const text = encodeState(state);
          if (text === line) continue;
          if (!isDeepStrictEqual(said, decodeState(text))) {
            return `of snapshot ${said.id} it says something else than the log`;
          }
        }
      }
    } catch (thrown) {
      return `its lines cannot be understood: ${reasonOf(thrown)}`;
    }
    const { size } = this.#replay.forest;
    return index - 1 === size ? null : `it has ${index - 1} snapshots, the log has ${size}`;
  }
}

function kindOf(thrown: unknown): EventFindingKind {
  if (!(thrown instanceof EventNotUnderstood)) return 'event-impossible';
  return thrown.isNewer ? 'event-newer' : 'event-malformed';
}

async function soundCheckpoints(disk: Disk, root: string): Promise<readonly Taken[]> {
  const uuid = (await readIdentityIfSound(disk, root))?.uuid ?? '';
  const { checkpoints } = await listLog(disk, root);
  const sound: Taken[] = [];
  for (const { name, position: at } of checkpoints) {
    const path = `${logDirectory(root)}/${name}`;
    const reading = await examineCheckpoint(disk, path, uuid);
    if (reading.kind === 'unusable' || reading.envelope.position !== at) continue;
    const restore = async () => {
      const again = await readCheckpoint(disk, path, uuid);
      if (again.kind === 'unusable') throw new Error(again.reason);
      return Replay.restore(again.text);
    };
    // Not the whole reading: with many checkpoints the streams that they tell of fill the memory.
    const { start, end } = reading;
    const lines = () => checkpointLines(disk, path, { start, end });
    sound.push({ name, position: at, restore, lines });
  }
  return sound;
}
