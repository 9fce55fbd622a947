/**
 * `stratalog machine`: the statechart of a snapshot as a picture, and where in it one snapshot
 * stands, with the events that led it there.
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
import { askArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { momentOf } from '../args/moment.js';
import { printing, visible, type Output } from '../terminal/print.js';
import { snapshotMeant } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly at?: string;
  readonly format?: 'mermaid' | 'json' | 'svg' | 'table';
  readonly json?: true;
  readonly trunc: boolean;
}

const more = `
Without a snapshot it prints the whole chart, as Mermaid text when no format is named. With one it
prints the state, and a line for each event that led there. A number is an id before it is a
name; write a key that is a number with its namespace, as containerd sends it: default/12/7.

Examples:
  stratalog machine --format svg > chart.svg
  stratalog machine 12
  stratalog machine default/12/sha256:… --at 2026-01-31T12:00:00Z
  stratalog machine 12 --format svg > snapshot-12.svg

Exits 0, also for a snapshot that is removed; 1 when the log cannot be read, or never had such a
snapshot; 3 when the log is damaged.`;

export function machineCommand(): Command {
  return withArchiveOption(new Command('machine'))
    .description('draw the statechart of a snapshot, and tell where one stands in it and why')
    .argument('[key|id|digest]', 'which snapshot; without one, the whole chart')
    .option('--at <moment>', 'as it was at a position, or at a time: RFC 3339, or so long ago')
    .addOption(
      new Option('--format <format>', 'how to print it').choices([
        'table',
        'mermaid',
        'json',
        'svg',
      ]),
    )
    .option('--json', 'the same as --format json')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText('after', more)
    .action((snapshot: string | undefined, flags: Flags) =>
      printing(flags, (out) => run(snapshot, flags, out)),
    );
}

async function run(snapshot: string | undefined, flags: Flags, out: Output): Promise<void> {
  const format = flags.json === true ? 'json' : flags.format;
  if (flags.json === true && flags.format !== undefined && flags.format !== 'json') {
    throw new UsageError(`--json and --format ${flags.format} ask for two forms: give one of them`);
  }
  if (snapshot === undefined) {
    await printChart(flags, format ?? 'mermaid', out);
    return;
  }
  await askArchive(flags, async (archive) => {
    const at = await momentOf(archive, '--at', flags.at, systemClock().now());
    const past = () => archive.stateAt(at);
    const id = await snapshotMeant(archive, { text: snapshot, at, past });
    await printLife(await lifeOf(archive, id, at), at, format ?? 'table', out);
  });
}

async function printChart(
  { at }: Flags,
  format: NonNullable<Flags['format']>,
  out: Output,
): Promise<void> {
  if (at !== undefined) throw new UsageError('--at is about one snapshot: name it');
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
    await out.line(`before    ${before.status}: its first events are not in the log any more`);
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
