/** `stratalog history`: the events of one snapshot. */
import { Command } from 'commander';
import { formatTime } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { durationInWords, durationMillis, sinceInWords } from '../../inspect/events/durations.js';
import { historyOf, type History, type HistoryRow } from '../../inspect/snapshot/history.js';
import { queryArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { withOutput, visible, type Output } from '../terminal/print.js';
import { resolveSubject, matchingSubjects } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly namespace?: string;
  readonly all?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

const examples = `
Examples:
  stratalog history 12                                by id, which is also the name of its directory
  stratalog history k8s.io/7/sha256:1f8eea30a60e…     by a key or name it ever had
  stratalog history sha256:1f8eea30a60e               by a prefix of its chain ID, 8 characters or more
  stratalog history --all web                         every snapshot that matches

Exits 1 if no snapshot matches, 2 if the argument is ambiguous: the matches are then listed.`;

export function historyCommand(): Command {
  return withArchiveOption(new Command('history'))
    .description('show the events of a snapshot, with times, durations and callers')
    .argument('<key|id|digest>', 'the snapshot')
    .option('-n, --namespace <name>', 'only snapshots in this containerd namespace')
    .option('--all', 'show every snapshot that matches')
    .option('--json', 'print one JSON object for the snapshot, then one per event')
    .option('-q, --quiet', 'print only positions')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', examples)
    .action((text: string, flags: Flags) =>
      withOutput(flags, (out) => queryArchive(flags, (archive) => run(archive, text, flags, out))),
    );
}

async function run(archive: Archive, text: string, flags: Flags, out: Output): Promise<void> {
  const query = { text, namespace: flags.namespace };
  const subjects =
    flags.all === true
      ? await matchingSubjects(archive, query)
      : [await resolveSubject(archive, query)];
  for (const [index, subject] of subjects.entries()) {
    const history = await historyOf(archive, subject);
    if (flags.json === true) await printJson(out, history);
    else if (flags.quiet === true) {
      await out.lines(history.rows.map(({ record }) => String(record.position)));
    } else {
      if (index > 0) await out.line('');
      await printTable(out, history);
    }
  }
}

async function printJson(out: Output, history: History): Promise<void> {
  const { id, names, kinds, status, isWhole, parents, children, rows } = history;
  await out.json('history', { id, names, kinds, status, isWhole, parents, children });
  for (const { record, sincePrevious, summary, step, caller } of rows) {
    await out.json('history-event', {
      id,
      position: record.position,
      time: formatTime(record.time),
      sincePreviousMillis: sincePrevious === null ? null : durationMillis(sincePrevious),
      type: record.type,
      summary,
      step: step === null ? null : { what: step.what, millis: durationMillis(step.nanos) },
      caller,
      data: record.data,
    });
  }
}

async function printTable(out: Output, history: History): Promise<void> {
  await out.lines(headLines(history));
  await out.line('');
  const cells = history.rows.map((row) => [
    String(row.record.position),
    out.colors.dim(formatTime(row.record.time)),
    row.sincePrevious === null ? '' : sinceInWords(row.sincePrevious),
    visible(row.record.type),
    visible(whatOf(row)),
  ]);
  await out.table(['POSITION', 'TIME', 'AFTER', 'EVENT', 'SUMMARY'], cells);
}

function headLines(history: History): readonly string[] {
  const { id, names, kinds, status, isWhole, parents, children, rows } = history;
  const [first, last] = [rows[0]?.record, rows.at(-1)?.record];
  const isGone = status === 'removed' && first !== undefined && last !== undefined;
  const lived = isGone ? `, after ${durationInWords(last.time - first.time)}` : '';
  const lines = [
    `snapshot  ${id}`,
    `names     ${visible(names.join(', then ')) || 'retired'}`,
    `kinds     ${kinds.join(', then ') || (isWhole ? 'none: never visible to clients' : 'unknown')}`,
    `state     ${status ?? 'unknown'}${lived}`,
    `parents   ${visible(parents.map(linkText).join(' > ')) || 'none'}`,
    `children  ${children.length === 0 ? 'none' : children.length}`,
    ...children.map((child) => {
      const until = child.until === null ? 'on' : `to ${child.until}`;
      return visible(`          ${linkText(child)}, from position ${child.from} ${until}`);
    }),
  ];
  return isWhole
    ? lines
    : [...lines, 'The first events of this snapshot are retired from the log.'];
}

const linkText = ({ id, name }: { readonly id: number; readonly name: string }): string =>
  `${id} ${name}`;

function whatOf({ summary, step }: HistoryRow): string {
  if (step === null) return summary;
  const words = `${step.what} ${durationInWords(step.nanos)}`;
  return summary === '' ? words : `${summary}; ${words}`;
}
