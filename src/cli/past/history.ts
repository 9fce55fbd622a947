/** `stratalog history`: one snapshot's life, told from the log. */
import { Command } from 'commander';
import { formatTime } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { durationInWords, durationMillis, sinceInWords } from '../../inspect/events/durations.js';
import { historyOf, type History, type HistoryRow } from '../../inspect/snapshot/history.js';
import { askArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { printing, visible, type Output } from '../terminal/print.js';
import { oneSubject, someSubjects } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly namespace?: string;
  readonly all?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

const examples = `
Examples:
  stratalog history 12                                by its number, which names its directory too
  stratalog history k8s.io/7/sha256:1f8eea30a60e…     by a key or a name it ever bore
  stratalog history sha256:1f8eea30a60e               by the chain id, eight characters or more of it
  stratalog history --all web                         each of several that were called so

Exits 1 when the log knows no such snapshot, 2 when nobody can tell which of several
is meant: they are listed then.`;

export function historyCommand(): Command {
  return withArchiveOption(new Command('history'))
    .description(
      "tell one snapshot's life: each event, when, how long after the one before, by whom",
    )
    .argument('<key|id|digest>', 'which snapshot')
    .option('-n, --namespace <name>', 'only of this containerd namespace')
    .option('--all', 'when the word fits several snapshots, tell of each')
    .option('--json', 'print one JSON object for the snapshot, then one for each event')
    .option('-q, --quiet', 'print positions only')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText('after', examples)
    .action((text: string, flags: Flags) =>
      printing(flags, (out) => askArchive(flags, (archive) => run(archive, text, flags, out))),
    );
}

async function run(archive: Archive, text: string, flags: Flags, out: Output): Promise<void> {
  const query = { text, namespace: flags.namespace };
  const subjects =
    flags.all === true ? await someSubjects(archive, query) : [await oneSubject(archive, query)];
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
    `kinds     ${kinds.join(', then ') || (isWhole ? 'none: no client was shown it' : 'unknown')}`,
    `state     ${status ?? 'unknown'}${lived}`,
    `parents   ${visible(parents.map(linkText).join(' > ')) || 'none'}`,
    `children  ${children.length === 0 ? 'none' : children.length}`,
    ...children.map((child) => {
      const until = child.until === null ? 'on' : `to ${child.until}`;
      return visible(`          ${linkText(child)}, from position ${child.from} ${until}`);
    }),
  ];
  return isWhole ? lines : [...lines, 'The beginning of its life is retired from the log.'];
}

const linkText = ({ id, name }: { readonly id: number; readonly name: string }): string =>
  `${id} ${name}`;

function whatOf({ summary, step }: HistoryRow): string {
  if (step === null) return summary;
  const words = `${step.what} ${durationInWords(step.nanos)}`;
  return summary === '' ? words : `${summary}; ${words}`;
}
