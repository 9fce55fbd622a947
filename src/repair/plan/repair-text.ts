/** A repair plan in sentences: what will be done, what would be lost, what cannot be known. */
import { formatTime } from '../../base/units.js';
import type { LooseRecord } from './repair-evidence.js';
import type { RepairPlan } from './repair-plan.js';
import { summaryOf } from '../../inspect/events/summary.js';

/** What will be done, in order, one sentence each. */
export function repairSteps(plan: RepairPlan): readonly string[] {
  if (plan.kind !== 'repair') return [];
  const { takenOut, rewritten, renamed, identity, kept, salvaged, finished, end } = plan;
  return [
    ...takenOut.map(({ file, why }) => `take ${file} out: ${why}`),
    ...rewritten.map(
      ({ name, from, firstPosition, endPosition }) =>
        `write ${name} anew, with the records ${rangeOf(firstPosition, endPosition)} of ${from}`,
    ),
    ...renamed.map(({ from, to }) => `rename ${from} to ${to}`),
    identity.replaces === null && identity.uuid !== null
      ? `write identity.json: epoch ${identity.epoch}${identity.why === null ? '' : ` (${identity.why})`}`
      : 'begin a new log with a number of its own, in epoch 1',
    `go on at position ${end.position}, with LogRepaired as the first event`,
    ...finished.map(
      ({ id }) => `append SnapshotPrepared of snapshot ${id}: its end may be among what is lost`,
    ),
    ...(kept.length === 0
      ? []
      : [`set aside the directories ${listed(kept)}: no start deletes them`]),
    ...salvaged.map(({ id }) => `take directory ${id} in as the unverified layer salvaged/${id}`),
  ];
}

/** What would be lost, one sentence each; "nothing" when nothing is. */
export function repairLosses(plan: RepairPlan): readonly string[] {
  const { history, lost, salvaged } = plan;
  const losses: string[] = [];
  if (history !== null) {
    losses.push(
      `the history ${rangeOf(history.from, history.to)}: a checkpoint has the state behind it, so no ` +
        'snapshot is concerned',
    );
  }
  if (lost !== null) losses.push(...lossesIn(lost));
  if (salvaged.length > 0) {
    losses.push(
      'of each directory: the name, the parent, the labels, when it was made, and whether it was a ' +
        'layer or a container’s own. What it looks like is told, what it was cannot be known',
    );
  }
  return losses;
}

function lossesIn({ from, to, readable }: NonNullable<RepairPlan['lost']>): readonly string[] {
  if (from === to)
    return [`whatever happened from position ${from} on: nothing is left that tells of it`];
  const times = readable.flatMap(({ record }) => (record === null ? [] : [record.time]));
  const [first] = times;
  const last = times.at(-1);
  const when =
    first === undefined || last === undefined
      ? ''
      : `, of ${formatTime(first)} to ${formatTime(last)} as far as they can be read`;
  const streams = new Map<string, number>();
  for (const { record } of readable) {
    if (record !== null) streams.set(record.stream, (streams.get(record.stream) ?? 0) + 1);
  }
  const each = [...streams].map(([stream, count]) => `${stream} loses ${count}`);
  return [
    `the events ${rangeOf(from, to)}${when}; ${readable.length} of ${to - from} can still be read`,
    ...(each.length === 0 ? [] : [each.join(', ')]),
  ];
}

/** A lost event that can still be read, as `stratalog log` shows it. */
export function lostLine({ position, record, file, offset }: LooseRecord): string {
  if (record === null) return `${position}  (its body cannot be understood; ${file} at ${offset})`;
  const { time, stream, type } = record;
  return `${position}  ${formatTime(time)}  ${stream}  ${type}  ${summaryOf(record)}`.trimEnd();
}

const rangeOf = (from: number, to: number): string =>
  to - from === 1 ? `at position ${from}` : `at positions ${from} to ${to - 1}`;

const listed = (ids: readonly number[]): string => ids.join(', ');
