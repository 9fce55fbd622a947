/**
 * The path of one snapshot through its statechart: each event with the source state, the arrow and
 * the target state. Uses the same fold as replay, so the path is the one that the daemon followed.
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
  /** Id of the arrow; null if the chart has none, which happens only with an invalid log. */
  readonly arrow: string | null;
  readonly state: SnapshotState;
}

export interface Life {
  readonly id: SnapshotId;
  /** State before the first step; null if it did not exist. */
  readonly before: SnapshotState | null;
  readonly steps: readonly LifeStep[];
}

/**
 * The life up to a position, exclusive. Fails as the archive does, and with EventNotUnderstood or
 * InvariantBroken if the log is invalid.
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

/** From a checkpoint, if the first events of the snapshot are retired. */
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

/** The arrow for an event that leads from one state to the other; prefers the innermost source. */
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

/** `committed.available` is within `committed` and within itself. */
function isWithin(path: string, around: string): boolean {
  return path === around || path.startsWith(`${around}.`);
}

/** What to highlight in a picture of this life. */
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
