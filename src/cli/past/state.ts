/** `stratalog state`: the snapshots as they were at a moment, or are now, told from the log alone. */
import { Command } from 'commander';
import { assert } from '../../base/assert.js';
import { formatTime, type Position } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import type { Archive, PastState } from '../../inspect/archive/archive.js';
import { chainBelow } from '../../inspect/snapshot/history.js';
import { settingsAt } from '../../inspect/archive/settings-at.js';
import { childrenIn } from '../../inspect/snapshot/relatives.js';
import { kindOf, stateFields, statesIn, treeRows } from '../../inspect/snapshot/state-view.js';
import type { SnapshotState } from '../../machines/fold.js';
import { askArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { momentOf } from '../args/moment.js';
import { mountsAt } from './mounts-at.js';
import { printing, visible, visibleJson, type Output } from '../terminal/print.js';
import { snapshotMeant } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly at?: string;
  readonly json?: true;
  readonly trunc: boolean;
}

interface ListFlags extends Flags {
  readonly all?: true;
  readonly namespace?: string;
  readonly quiet?: true;
  readonly tree?: true;
}

const examples = `
Examples:
  stratalog state                            what is there now
  stratalog state --at 2026-01-31T03:12:00Z  what was there at that time
  stratalog state --at 120 --tree            before the event at position 120, as a tree
  stratalog state show --at 3h k8s.io/7/web  one snapshot in full, as of three hours ago

Exits 1 when the log does not reach to the moment, or has no such snapshot then.`;

export function stateCommand(): Command {
  return new Command('state')
    .description('the snapshots as they were at a moment, or are now')
    .addCommand(lsCommand(), { isDefault: true })
    .addCommand(treeCommand())
    .addCommand(showCommand())
    .addHelpText('after', examples);
}

function lsCommand(): Command {
  return listOptions(new Command('ls').alias('list'))
    .description('list the snapshots, as containerd would have been told of them')
    .option('--tree', 'children below their parents')
    .option('-q, --quiet', 'print keys only')
    .action((flags: ListFlags) => looking(flags, (past, out) => list(past, flags, out)));
}

function treeCommand(): Command {
  return listOptions(new Command('tree'))
    .description('the same with children below their parents')
    .action((flags: ListFlags) =>
      looking(flags, (past, out) => list(past, { ...flags, tree: true }, out)),
    );
}

function showCommand(): Command {
  return momentOptions(new Command('show').alias('info'))
    .description('one snapshot in full: labels, usage, parents, children, mounts')
    .argument('<key|id|digest>', 'which snapshot')
    .action((text: string, flags: Flags) =>
      looking(flags, (past, out, archive) => show(archive, past, text, flags, out)),
    );
}

function listOptions(command: Command): Command {
  return momentOptions(command)
    .option('-n, --namespace <name>', 'only keys of this containerd namespace')
    .option('--all', 'those too that no client is shown: under way, or on their way out');
}

function momentOptions(command: Command): Command {
  return withArchiveOption(command)
    .option(
      '--at <moment>',
      'before this position, or at this time: RFC 3339, or so long ago: 90s, 3d',
    )
    .option('--json', 'print a JSON object for each snapshot')
    .option('--no-trunc', 'print digests whole on a terminal too');
}

function looking(
  flags: Flags,
  look: (past: PastState, out: Output, archive: Archive) => Promise<void>,
): Promise<void> {
  return printing(flags, (out) =>
    askArchive(flags, async (archive) => {
      const at = await momentOf(archive, '--at', flags.at, systemClock().now());
      await look(await archive.stateAt(at), out, archive);
    }),
  );
}

async function list({ position, time, forest }: PastState, flags: ListFlags, out: Output) {
  const query = { namespace: flags.namespace ?? null, isAll: flags.all === true };
  const states = statesIn(forest, query);
  if (flags.json === true) {
    await out.json('state', momentFields(position, time));
    for (const state of states) await out.json('snapshot', { ...stateFields(state) });
  } else if (flags.quiet === true) {
    for (const state of states) await out.line(visible(state.name));
  } else {
    const rows = flags.tree === true ? treeCells(states) : [...states].map(listCells);
    const [first = '', second = ''] = flags.tree === true ? ['ID', 'NAME'] : ['NAME', 'PARENT'];
    const head = flags.tree === true ? ['KIND', 'STATE'] : ['KIND', 'ID', 'STATE'];
    await out.table([first, second, ...head], rows);
  }
}

const listCells = (state: SnapshotState): readonly string[] => [
  visible(state.name),
  visible(state.parent?.name ?? ''),
  kindOf(state),
  String(state.id),
  placeOf(state),
];

function treeCells(states: Iterable<SnapshotState>): readonly (readonly string[])[] {
  return treeRows(states).map(({ state, branch }) => [
    String(state.id),
    `${branch}${visible(state.name)}`,
    kindOf(state),
    placeOf(state),
  ]);
}

/** Where it stands in the statechart, and what a person should know of that. */
function placeOf({ status, remote, unavailability }: SnapshotState): string {
  const place = status.replace('committed.', '');
  const why = unavailability === null ? '' : `: ${visible(unavailability.reason)}`;
  return `${place}${why}${remote === null ? '' : `, from ${visible(remote.fileSystem)}`}`;
}

async function show(
  archive: Archive,
  then: PastState,
  text: string,
  flags: Flags,
  out: Output,
): Promise<void> {
  const { position, time, forest } = then;
  const query = {
    text,
    at: position,
    past: () => Promise.resolve(then),
    mustBeThere: true,
  } as const;
  const state = forest.get(await snapshotMeant(archive, query));
  assert(state !== undefined, 'a snapshot that must be there is not there');
  const fields = {
    at: momentFields(position, time),
    ...stateFields(state),
    parents: chainBelow(forest, state),
    children: childrenIn(forest, state.id),
    mounts: mountsAt(forest, state, await settingsAt(archive, position)),
  };
  if (flags.json === true) await out.json('snapshot-in-full', fields);
  else await out.lines(JSON.stringify(fields, null, 4).split('\n').map(visibleJson));
}

const momentFields = (position: Position, time: PastState['time']) => ({
  position,
  time: time === null ? null : formatTime(time),
});
