/** Formats a repair plan: the steps and the losses, one sentence each. */
import { formatTime } from '../../base/units.js';
import type { LooseRecord } from './repair-evidence.js';
import type { RepairPlan } from './repair-plan.js';
import { summaryOf } from '../../inspect/events/summary.js';

/** The steps in order of execution. */
export function repairSteps(plan: RepairPlan): readonly string[] {
  if (plan.kind !== 'repair') return [];
  const { takenOut, rewritten, renamed, identity, kept, salvaged, finished, end } = plan;
  return [
    ...takenOut.map(({ file, why }) => `quarantine ${file}: ${why}`),
    ...rewritten.map(
      ({ name, from, firstPosition, endPosition }) =>
        `rewrite ${name} with the records ${rangeOf(firstPosition, endPosition)} of ${from}`,
    ),
    ...renamed.map(({ from, to }) => `rename ${from} to ${to}`),
    identity.replaces === null && identity.uuid !== null
      ? `write identity.json: epoch ${identity.epoch}${identity.why === null ? '' : ` (${identity.why})`}`
      : 'begin a new log with a new UUID, in epoch 1',
    `continue at position ${end.position}, with LogRepaired as the first event`,
    ...finished.map(
      ({ id }) => `append SnapshotPrepared of snapshot ${id}: the original event may be lost`,
    ),
    ...(kept.length === 0
      ? []
      : [`set aside the directories ${listed(kept)}, so that startup does not delete them`]),
    ...salvaged.map(({ id }) => `import directory ${id} as the unverified layer salvaged/${id}`),
  ];
}

/** The losses; empty if nothing is lost. */
export function repairLosses(plan: RepairPlan): readonly string[] {
  const { history, lost, salvaged } = plan;
  const losses: string[] = [];
  if (history !== null) {
    losses.push(
      `the history ${rangeOf(history.from, history.to)}: a checkpoint has the state after it, so no ` +
        'snapshot is affected',
    );
  }
  if (lost !== null) losses.push(...lossesIn(lost));
  if (salvaged.length > 0) {
    losses.push(
      'for each directory: the name, the parent, the labels, the creation time, and whether it was ' +
        'a layer or a container’s own; the label records only what it looks like',
    );
  }
  return losses;
}

function lossesIn({ from, to, readable }: NonNullable<RepairPlan['lost']>): readonly string[] {
  if (from === to)
    return [`all events from position ${from} on, if there were any: no trace of them is left`];
  const times = readable.flatMap(({ record }) => (record === null ? [] : [record.time]));
  const [first] = times;
  const last = times.at(-1);
  const when =
    first === undefined || last === undefined
      ? ''
      : `, from ${formatTime(first)} to ${formatTime(last)} as far as readable`;
  const streams = new Map<string, number>();
  for (const { record } of readable) {
    if (record !== null) streams.set(record.stream, (streams.get(record.stream) ?? 0) + 1);
  }
  const each = [...streams].map(([stream, count]) => `${stream} loses ${count}`);
  return [
    `the events ${rangeOf(from, to)}${when}; ${readable.length} of ${to - from} are still readable`,
    ...(each.length === 0 ? [] : [each.join(', ')]),
  ];
}

/** A lost event that can still be read, as `stratalog log` shows it. */
export function lostLine({ position, record, file, offset }: LooseRecord): string {
  if (record === null) return `${position}  (body cannot be decoded; ${file} at offset ${offset})`;
  const { time, stream, type } = record;
  return `${position}  ${formatTime(time)}  ${stream}  ${type}  ${summaryOf(record)}`.trimEnd();
}

const rangeOf = (from: number, to: number): string =>
  to - from === 1 ? `at position ${from}` : `at positions ${from} to ${to - 1}`;

const listed = (ids: readonly number[]): string => ids.join(', ');
