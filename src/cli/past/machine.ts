/**
 * `stratalog machine`: the statechart of snapshots as a picture, or the state of one snapshot with
 * the transitions that led to it.
 */
import { Command, Option } from 'commander';
import { UsageError } from '../../base/errors.js';
import { formatTime, type Position } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import { chartMermaid } from '../../inspect/chart/chart-mermaid.js';
import { snapshotDefinition, snapshotOutline } from '../../inspect/chart/chart-outline.js';
import { chartSvg } from '../../inspect/chart/chart-picture.js';
import { lifeOf, marksOf, type Life } from '../../inspect/chart/life-chart.js';
import { summaryOf } from '../../inspect/events/summary.js';
import { queryArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { resolveMoment } from '../args/moment.js';
import { withOutput, visible, type Output } from '../terminal/print.js';
import { resolveSnapshot } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly at?: string;
  readonly format?: 'mermaid' | 'json' | 'svg' | 'table';
  readonly json?: true;
  readonly trunc: boolean;
}

const more = `
Without a snapshot, prints the whole chart, by default as Mermaid. With a snapshot, prints its state
and its transitions. A number is taken as an id first: give a numeric key with its namespace, as
containerd sends it: default/12/7.

Examples:
  stratalog machine --format svg > chart.svg
  stratalog machine 12
  stratalog machine default/12/sha256:… --at 2026-01-31T12:00:00Z
  stratalog machine 12 --format svg > snapshot-12.svg

Exits 0, also for a removed snapshot; 1 if the log cannot be read or no snapshot matches; 3 if the
log is damaged.`;

export function machineCommand(): Command {
  return withArchiveOption(new Command('machine'))
    .description('print the statechart of snapshots, or the state and transitions of one snapshot')
    .argument('[key|id|digest]', 'the snapshot (default: print the whole chart)')
    .option('--at <moment>', 'at this position or time: RFC 3339, or a duration before now')
    .addOption(
      new Option('--format <format>', 'output format').choices(['table', 'mermaid', 'json', 'svg']),
    )
    .option('--json', 'same as --format json')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', more)
    .action((snapshot: string | undefined, flags: Flags) =>
      withOutput(flags, (out) => run(snapshot, flags, out)),
    );
}

async function run(snapshot: string | undefined, flags: Flags, out: Output): Promise<void> {
  const format = flags.json === true ? 'json' : flags.format;
  if (flags.json === true && flags.format !== undefined && flags.format !== 'json') {
    throw new UsageError(`--json and --format ${flags.format} are mutually exclusive`);
  }
  if (snapshot === undefined) {
    await printChart(flags, format ?? 'mermaid', out);
    return;
  }
  await queryArchive(flags, async (archive) => {
    const at = await resolveMoment(archive, '--at', flags.at, systemClock().now());
    const past = () => archive.stateAt(at);
    const id = await resolveSnapshot(archive, { text: snapshot, at, past });
    await printLife(await lifeOf(archive, id, at), at, format ?? 'table', out);
  });
}

async function printChart(
  { at }: Flags,
  format: NonNullable<Flags['format']>,
  out: Output,
): Promise<void> {
  if (at !== undefined) throw new UsageError('--at requires a snapshot');
  if (format === 'json') await out.json('machine', { ...snapshotOutline });
  else if (format === 'svg') await out.line(chartSvg({ isStandAlone: true }).trimEnd());
  else if (format === 'mermaid') await out.line(chartMermaid(snapshotDefinition));
  else {
    const rows = snapshotOutline.arrows.map(({ from, event, guard, to }) => [
      from,
      guard === null ? event : `${event} [${guard}]`,
      to,
    ]);
    await out.table(['FROM', 'EVENT', 'TO'], rows);
  }
}

async function printLife(
  life: Life,
  at: Position,
  format: NonNullable<Flags['format']>,
  out: Output,
): Promise<void> {
  const marks = marksOf(life);
  if (format === 'svg') await out.line(chartSvg({ marks, isStandAlone: true }).trimEnd());
  else if (format === 'mermaid') await out.line(chartMermaid(snapshotDefinition, marks.lit));
  else if (format === 'json') await out.json('machine-state', jsonFields(life, at));
  else await printTable(life, at, out);
}

function jsonFields({ id, before, steps }: Life, at: Position): Readonly<Record<string, unknown>> {
  const state = steps.at(-1)?.state ?? before;
  return {
    id,
    name: state?.name ?? null,
    position: at,
    state: state?.status ?? null,
    before: before?.status ?? null,
    path: steps.map(({ record, from, to, arrow }) => ({
      position: record.position,
      time: formatTime(record.time),
      event: record.type,
      from,
      to,
      arrow,
    })),
  };
}

async function printTable({ id, before, steps }: Life, at: Position, out: Output): Promise<void> {
  const state = steps.at(-1)?.state ?? before;
  await out.line(`snapshot  ${id} ${visible(state?.name ?? '')}`);
  await out.line(`state     ${out.colors.yellow(state?.status ?? '')} at position ${at}`);
  if (before !== null) {
    await out.line(`before    ${before.status}: its first events are retired from the log`);
  }
  await out.line('');
  const rows = steps.map(({ record, from, to }) => [
    String(record.position),
    formatTime(record.time),
    from,
    record.type,
    to,
    visible(summaryOf(record)),
  ]);
  await out.table(['POSITION', 'TIME', 'FROM', 'EVENT', 'TO', 'SUMMARY'], rows);
}
