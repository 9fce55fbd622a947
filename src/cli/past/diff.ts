/** `stratalog diff A B`: what changed between two moments. */
import { Command } from 'commander';
import { formatTime } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import type { Archive, PastState } from '../../inspect/archive/archive.js';
import {
  diffOf,
  idOf,
  labelChanges,
  type Difference,
  type FieldChange,
} from '../../inspect/snapshot/diff.js';
import { kindOf, stateFields, statesIn } from '../../inspect/snapshot/state-view.js';
import { askArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { EXIT } from '../exit-codes.js';
import { momentOf } from '../args/moment.js';
import { humanSize, printing, visible, type Output } from '../terminal/print.js';

interface Flags extends ArchiveFlags {
  readonly all?: true;
  readonly namespace?: string;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

const examples = `
Examples:
  stratalog diff 120 180                     between two positions
  stratalog diff 2026-01-31T03:12:00Z 1h     between a time and an hour ago
  stratalog diff 24h                         what changed in the last day

Exits 0 when nothing differs, 3 when something does.`;

export function diffCommand(): Command {
  return withArchiveOption(new Command('diff'))
    .description('what changed between two moments: snapshots that came, went or became other')
    .argument('<a>', 'position or time: RFC 3339, or so long ago: 90s, 3d')
    .argument('[b]', 'the same; the end of the log by default')
    .option('-n, --namespace <name>', 'only keys of this containerd namespace')
    .option('--all', 'count those too that no client is shown: under way, or on their way out')
    .option('--json', 'print one JSON object for each difference, then one with the totals')
    .option('-q, --quiet', 'print only the keys of what differs')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText('after', examples)
    .action((a: string, b: string | undefined, flags: Flags) =>
      printing(flags, (out) => askArchive(flags, (archive) => run(archive, [a, b], flags, out))),
    );
}

async function run(
  archive: Archive,
  [a, b]: readonly [string, string | undefined],
  flags: Flags,
  out: Output,
): Promise<void> {
  const now = systemClock().now();
  const before = await archive.stateAt(await momentOf(archive, 'A', a, now));
  const after = await archive.stateAt(await momentOf(archive, 'B', b, now));
  const query = { namespace: flags.namespace ?? null, isAll: flags.all === true };
  const diff = diffOf(statesIn(before.forest, query), statesIn(after.forest, query));
  const { differences, totals } = diff;
  if (flags.json === true) {
    for (const difference of differences) await out.json('difference', jsonOf(difference));
    await out.json('diff', {
      before: momentOfState(before),
      after: momentOfState(after),
      ...totals,
    });
  } else if (flags.quiet === true) {
    await out.lines(differences.map((difference) => visible(nameOf(difference))));
  } else {
    if (differences.length > 0) {
      const cells = differences.map((difference) => cellsOf(difference, out));
      await out.table(['', 'ID', 'NAME', 'KIND', 'CHANGE'], cells);
      await out.line('');
    }
    const size = `${totals.bytes < 0 ? '-' : '+'}${humanSize(Math.abs(totals.bytes))}`;
    await out.line(
      `${totals.added} added, ${totals.removed} removed, ${totals.changed} changed, ` +
        `${totals.same} as before; layers ${size}`,
    );
  }
  if (differences.length > 0) process.exitCode = EXIT.findings;
}

const momentOfState = ({ position, time }: PastState) => ({
  position,
  time: time === null ? null : formatTime(time),
});

function jsonOf(difference: Difference): Readonly<Record<string, unknown>> {
  return {
    change: difference.change,
    id: idOf(difference),
    name: nameOf(difference),
    before: difference.change === 'added' ? null : stateFields(difference.before),
    after: difference.change === 'removed' ? null : stateFields(difference.after),
    fields: difference.change === 'changed' ? difference.fields.map(({ field }) => field) : [],
  };
}

const nameOf = (difference: Difference): string =>
  difference.change === 'removed' ? difference.before.name : difference.after.name;

const signs = { added: '+', removed: '-', changed: '~' } as const;

function cellsOf(difference: Difference, out: Output): readonly string[] {
  const { green, red, yellow } = out.colors;
  const paint = { added: green, removed: red, changed: yellow }[difference.change];
  const state = difference.change === 'removed' ? difference.before : difference.after;
  const what =
    difference.change === 'changed'
      ? difference.fields.map(fieldText).join('; ')
      : state.parent === null
        ? state.status
        : `${state.status}, on ${state.parent.name}`;
  return [
    paint(signs[difference.change]),
    String(state.id),
    visible(state.name),
    kindOf(state),
    visible(what),
  ];
}

function fieldText(change: FieldChange): string {
  if (change.field === 'labels') {
    const labels = labelChanges(change).map(
      ({ key, before, after }) => `${key} ${before ?? '(none)'} → ${after ?? '(none)'}`,
    );
    return `labels: ${labels.join(', ')}`;
  }
  return `${change.field}: ${valueText(change.before)} → ${valueText(change.after)}`;
}

function valueText(value: unknown): string {
  if (value === null) return '(none)';
  if (typeof value !== 'object') return typeof value === 'string' ? value : JSON.stringify(value);
  return 'name' in value && typeof value.name === 'string' ? value.name : JSON.stringify(value);
}
