/** `stratalog state`: the snapshots now or at a moment, from the log alone. */
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
import { queryArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { resolveMoment } from '../args/moment.js';
import { mountsAt } from './mounts-at.js';
import { withOutput, visible, visibleJson, type Output } from '../terminal/print.js';
import { resolveSnapshot } from '../args/subject-argument.js';

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
  stratalog state                            snapshots that exist now
  stratalog state --at 2026-01-31T03:12:00Z  snapshots that existed at that time
  stratalog state --at 120 --tree            before the event at position 120, as a tree
  stratalog state show --at 3h k8s.io/7/web  all details of one snapshot, three hours ago

Exits 1 if the log does not have that moment, or no snapshot matches at that moment.`;

export function stateCommand(): Command {
  return new Command('state')
    .description('show the snapshots, now or at a moment in the past')
    .addCommand(lsCommand(), { isDefault: true })
    .addCommand(treeCommand())
    .addCommand(showCommand())
    .addHelpText('after', examples);
}

function lsCommand(): Command {
  return listOptions(new Command('ls').alias('list'))
    .description('list the snapshots that are visible to clients')
    .option('--tree', 'print children below their parents')
    .option('-q, --quiet', 'print only keys')
    .action((flags: ListFlags) => withState(flags, (past, out) => list(past, flags, out)));
}

function treeCommand(): Command {
  return listOptions(new Command('tree'))
    .description('list the snapshots with children below their parents')
    .action((flags: ListFlags) =>
      withState(flags, (past, out) => list(past, { ...flags, tree: true }, out)),
    );
}

function showCommand(): Command {
  return momentOptions(new Command('show').alias('info'))
    .description('show one snapshot with its labels, usage, parents, children and mounts')
    .argument('<key|id|digest>', 'the snapshot')
    .action((text: string, flags: Flags) =>
      withState(flags, (past, out, archive) => show(archive, past, text, flags, out)),
    );
}

function listOptions(command: Command): Command {
  return momentOptions(command)
    .option('-n, --namespace <name>', 'only keys in this containerd namespace')
    .option('--all', 'include snapshots hidden from clients: being prepared or removed');
}

function momentOptions(command: Command): Command {
  return withArchiveOption(command)
    .option(
      '--at <moment>',
      'before this position, or at this time: RFC 3339, or a duration before now: 90s, 3d',
    )
    .option('--json', 'print one JSON object per snapshot')
    .option('--no-trunc', 'do not shorten digests');
}

function withState(
  flags: Flags,
  use: (past: PastState, out: Output, archive: Archive) => Promise<void>,
): Promise<void> {
  return withOutput(flags, (out) =>
    queryArchive(flags, async (archive) => {
      const at = await resolveMoment(archive, '--at', flags.at, systemClock().now());
      await use(await archive.stateAt(at), out, archive);
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
  stateText(state),
];

function treeCells(states: Iterable<SnapshotState>): readonly (readonly string[])[] {
  return treeRows(states).map(({ state, branch }) => [
    String(state.id),
    `${branch}${visible(state.name)}`,
    kindOf(state),
    stateText(state),
  ]);
}

/** The state in the statechart, why it is unavailable, and the file system of a remote layer. */
function stateText({ status, remote, unavailability }: SnapshotState): string {
  const shortStatus = status.replace('committed.', '');
  const why = unavailability === null ? '' : `: ${visible(unavailability.reason)}`;
  return `${shortStatus}${why}${remote === null ? '' : `, from ${visible(remote.fileSystem)}`}`;
}

async function show(
  archive: Archive,
  past: PastState,
  text: string,
  flags: Flags,
  out: Output,
): Promise<void> {
  const { position, time, forest } = past;
  const query = {
    text,
    at: position,
    past: () => Promise.resolve(past),
    mustExist: true,
  } as const;
  const state = forest.get(await resolveSnapshot(archive, query));
  assert(state !== undefined, 'resolved snapshot exists');
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
