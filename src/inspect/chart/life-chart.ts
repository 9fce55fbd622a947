/**
 * The way of one snapshot through its statechart: each event with the state it came from, the
 * arrow it took and the state it led to. Folded by the same function as replay, so a way that is
 * shown is the way that was gone.
 */
import type { Position, SnapshotId } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { Status } from '../../machines/transition-table.js';
import { fold, type SnapshotState } from '../../machines/fold.js';
import { understand } from '../../machines/events/streams.js';
import type { Archive } from '../archive/archive.js';
import { arrowId, snapshotOutline, type ChartArrow } from './chart-outline.js';
import type { ChartMarks } from './chart-picture.js';

export interface LifeStep {
  readonly record: LogRecord;
  readonly from: Status;
  readonly to: Status;
  /** The arrow of the chart; null when the chart has none, which only a wrong log can show. */
  readonly arrow: string | null;
  readonly state: SnapshotState;
}

export interface Life {
  readonly id: SnapshotId;
  /** Where it stood before the first step; null when its life begins with that step. */
  readonly before: SnapshotState | null;
  readonly steps: readonly LifeStep[];
}

/**
 * The life up to a position, not including it. Fails as the archive does; EventNotUnderstood and
 * InvariantBroken where the log tells what cannot be.
 */
export async function lifeOf(archive: Archive, id: SnapshotId, to: Position): Promise<Life> {
  const all = await archive.historyOf(id);
  const records = all.filter(({ position }) => position < to);
  const first = records[0];
  if (first === undefined) return { id, before: await stateBefore(archive, id, to), steps: [] };
  const isWhole = first.streamVersion === 0;
  const before = isWhole ? null : await stateBefore(archive, id, first.position);
  return { id, before, steps: stepsOf(records, before) };
}

/** Of a snapshot whose first events are retired, a checkpoint may still know. */
async function stateBefore(
  archive: Archive,
  id: SnapshotId,
  at: Position,
): Promise<SnapshotState | null> {
  return (await archive.stateAt(at)).forest.get(id) ?? null;
}

export function stepsOf(
  records: readonly LogRecord[],
  before: SnapshotState | null = null,
): readonly LifeStep[] {
  const steps: LifeStep[] = [];
  let state = before;
  for (const record of records) {
    const understood = understand(record);
    if (understood.about !== 'snapshot') continue;
    const { event } = understood;
    const from: Status = state?.status ?? 'absent';
    state = fold(state, { event, time: record.time, streamVersion: record.streamVersion });
    const to = state.status;
    steps.push({ record, from, to, arrow: arrowTaken(from, event.type, to), state });
  }
  return steps;
}

/** Of several arrows for one event, the one that leads where the snapshot went. */
function arrowTaken(from: Status, event: string, to: Status): string | null {
  const leaving = snapshotOutline.arrows.filter(
    (arrow) => arrow.event === event && isWithin(from, arrow.from),
  );
  const taken =
    leaving.find((arrow) => isWithin(to, arrow.to) && isNearest(arrow, leaving)) ??
    leaving.find((arrow) => isWithin(to, arrow.to));
  return taken === undefined ? null : arrowId(taken.from, taken.event, taken.guard);
}

const isNearest = (arrow: ChartArrow, others: readonly ChartArrow[]): boolean =>
  others.every((other) => other.from.length <= arrow.from.length);

/** `committed.available` is within `committed`, and within itself. */
function isWithin(path: string, around: string): boolean {
  return path === around || path.startsWith(`${around}.`);
}

/** What a picture of this life marks. */
export function marksOf({ before, steps }: Life): ChartMarks {
  const taken = new Set(steps.flatMap(({ arrow }) => (arrow === null ? [] : [arrow])));
  const visited = new Set<string>();
  for (const { from, to } of steps) {
    for (const path of [...withParents(from), ...withParents(to)]) visited.add(path);
  }
  return { lit: steps.at(-1)?.to ?? before?.status ?? null, taken, visited };
}

function withParents(path: string): readonly string[] {
  const dot = path.lastIndexOf('.');
  return dot < 0 ? [path] : [path, ...withParents(path.slice(0, dot))];
}
