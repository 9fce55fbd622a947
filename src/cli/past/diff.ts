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
import { queryArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { EXIT } from '../exit-codes.js';
import { resolveMoment } from '../args/moment.js';
import { humanSize, withOutput, visible, type Output } from '../terminal/print.js';

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
  stratalog diff 2026-01-31T03:12:00Z 1h     between a time and one hour ago
  stratalog diff 24h                         the last day

Exits 0 if there are no differences, 3 if there are some.`;

export function diffCommand(): Command {
  return withArchiveOption(new Command('diff'))
    .description('show the snapshots added, removed and changed between two moments')
    .argument('<a>', 'position or time: RFC 3339, or a duration before now: 90s, 3d')
    .argument('[b]', 'position or time (default: the end of the log)')
    .option('-n, --namespace <name>', 'only keys in this containerd namespace')
    .option('--all', 'include snapshots hidden from clients: being prepared or removed')
    .option('--json', 'print one JSON object per difference, then one with the totals')
    .option('-q, --quiet', 'print only the keys of snapshots that differ')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', examples)
    .action((a: string, b: string | undefined, flags: Flags) =>
      withOutput(flags, (out) =>
        queryArchive(flags, (archive) => run(archive, [a, b], flags, out)),
      ),
    );
}

async function run(
  archive: Archive,
  [a, b]: readonly [string, string | undefined],
  flags: Flags,
  out: Output,
): Promise<void> {
  const now = systemClock().now();
  const before = await archive.stateAt(await resolveMoment(archive, 'A', a, now));
  const after = await archive.stateAt(await resolveMoment(archive, 'B', b, now));
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
        `${totals.same} unchanged; layers ${size}`,
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
