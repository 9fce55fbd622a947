/** Histories of single snapshots for the page, with an LRU cache. */
import { formatTime, type Position, type SnapshotId, type UnixNanos } from '../base/units.js';
import type { Archive } from '../inspect/archive/archive.js';
import { lifeOf, stepsOf, type Life, type LifeStep } from '../inspect/chart/life-chart.js';
import { metaOf } from '../machines/transition-table.js';
import type { SnapshotState } from '../machines/fold.js';
import { streamOf } from '../machines/events/streams.js';
import type { LogRecord } from '../log/types.js';
import { eventRow } from './event-groups.js';
import type { FactsReply, LifeReply, StepRow } from './wire.js';

const keptMax = 32;
/** Frequent label updates can make a history very long. */
const stepsMax = 2_000;

interface KeptLife {
  readonly life: Life;
  readonly upTo: Position;
}

export class Lives {
  readonly #archive: Archive;
  /** In order of use, least recently used first. */
  readonly #kept = new Map<SnapshotId, KeptLife>();

  constructor(archive: Archive) {
    this.#archive = archive;
  }

  /** The snapshot at a position, with all its steps up to `next`. */
  async reply(id: SnapshotId, at: Position, next: Position): Promise<LifeReply> {
    const { before, steps } = await this.#lifeUpTo(id, next);
    const last = steps.findLast(({ record }) => record.position < at);
    const first = steps[0];
    const state =
      last?.state ?? (first === undefined || first.record.position >= at ? before : null);
    const exists = state !== null && state.status !== 'removed';
    return {
      id,
      facts: exists || last !== undefined ? factsOf(state) : null,
      steps: steps.slice(-stepsMax).map(stepRow),
      omitted: Math.max(0, steps.length - stepsMax),
    };
  }

  async #lifeUpTo(id: SnapshotId, next: Position): Promise<Life> {
    const kept = this.#kept.get(id);
    const life =
      kept === undefined
        ? await lifeOf(this.#archive, id, next)
        : kept.upTo >= next
          ? kept.life
          : await this.#extended(kept, next);
    this.#kept.delete(id);
    this.#kept.set(id, { life, upTo: next });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > keptMax && oldest !== undefined) this.#kept.delete(oldest);
    return life;
  }

  async #extended({ life, upTo }: KeptLife, next: Position): Promise<Life> {
    const records: LogRecord[] = [];
    const range = { stream: streamOf(life.id), from: upTo, to: next };
    for await (const batch of this.#archive.read(range)) records.push(...batch);
    const steps = stepsOf(records, life.steps.at(-1)?.state ?? life.before);
    return { ...life, steps: [...life.steps, ...steps] };
  }
}

function stepRow({ record, from, to, arrow }: LifeStep): StepRow {
  return { ...eventRow(record), from, to, arrow, caller: callerOf(record) };
}

function callerOf({ data }: LogRecord): string {
  const { caller } = data;
  if (typeof caller !== 'object' || caller === null) return '';
  return Object.entries(caller)
    .filter((entry): entry is [string, string | number] =>
      ['string', 'number'].includes(typeof entry[1]),
    )
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}

function factsOf(state: SnapshotState | null): FactsReply | null {
  if (state === null) return null;
  const { parent, usage, remote, unavailability } = state;
  return {
    status: state.status,
    name: state.name,
    kind: state.preparedAs,
    shownAs: metaOf(state.status).shownAs,
    parent,
    target: state.question?.ref ?? null,
    remote: remote === null ? null : `${remote.ref} from ${remote.fileSystem}`,
    bytes: usage?.size ?? null,
    inodes: usage?.inodes ?? null,
    created: time(state.createdAt),
    updated: time(state.updatedAt),
    unavailable: unavailability?.reason ?? null,
    labels: [...state.labels],
  };
}

const time = (nanos: UnixNanos): string => formatTime(nanos);
