/** Prints a repair plan. */
import { lostLine, repairLosses, repairSteps } from '../../repair/plan/repair-text.js';
import type { RepairPlan } from '../../repair/plan/repair-plan.js';
import type { Output } from '../terminal/print.js';
import { visible } from '../terminal/print.js';

/** Limits the lost events in the text output; --json has all. */
const LOST_SHOWN_MAX = 50;

export function planLines(plan: RepairPlan, colors: Output['colors']): readonly string[] {
  const { findings, lost, needsPerson } = plan;
  const lines: string[] = [];
  const section = (heading: string, texts: readonly string[]): void => {
    if (texts.length === 0) return;
    lines.push(heading, ...texts.map((text) => `  ${visible(text)}`));
  };
  section(
    'FOUND',
    findings.map((finding) => `${finding.kind}: ${finding.detail}`),
  );
  section('WILL BE DONE', repairSteps(plan));
  if (plan.kind === 'repair') {
    const losses = repairLosses(plan);
    section('WOULD BE LOST', losses.length === 0 ? ['nothing'] : losses);
    const readable = lost?.readable ?? [];
    section('LOST EVENTS THAT CAN BE READ', [
      ...readable.slice(0, LOST_SHOWN_MAX).map(lostLine),
      ...(readable.length > LOST_SHOWN_MAX ? [`and ${readable.length - LOST_SHOWN_MAX} more`] : []),
    ]);
  }
  section(colors.yellow('NEEDS A PERSON'), needsPerson);
  if (plan.kind === 'sound' && needsPerson.length === 0)
    lines.push('the log is sound: nothing to do');
  return lines;
}

/** Fields may be added but not removed. */
export function planFields(plan: RepairPlan): Readonly<Record<string, unknown>> {
  const { kind, findings, takenOut, rewritten, renamed, end, identity, history, lost } = plan;
  return {
    kind,
    findings,
    steps: repairSteps(plan),
    takenOut,
    rewritten: rewritten.map(({ chain, ...rest }) => ({ ...rest, chain: chain.toString('hex') })),
    renamed,
    end: { position: end.position, chain: end.chain.toString('hex') },
    epochBefore: identity.epochBefore,
    epoch: identity.epoch,
    history,
    lost:
      lost === null ? null : { from: lost.from, to: lost.to, readable: lost.readable.map(asJson) },
    losses: repairLosses(plan),
    kept: plan.kept,
    salvaged: plan.salvaged,
    needsPerson: plan.needsPerson,
  };
}

function asJson({
  file,
  offset,
  position,
  record,
}: NonNullable<RepairPlan['lost']>['readable'][number]) {
  return {
    ...{ file, offset, position },
    ...(record && {
      time: record.time.toString(),
      stream: record.stream,
      type: record.type,
      data: record.data,
    }),
  };
}
