/**
 * Generates test/golden/decisions.md: the result of decide for every command in every status, so
 * that a changed rule is visible in a diff.
 */
import { snapshotName, streamVersion } from '../../src/base/units.js';
import { STATUSES, type Status } from '../../src/machines/transition-table.js';
import type { Command, CommandName, CommandOf } from '../../src/machines/commands.js';
import { decide, type Decision } from '../../src/machines/decide.js';
import type { ParentLink } from '../../src/machines/events/events.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import { classOf } from '../../src/machines/refusals.js';
import { inStatus, REF, reservedName, type Subject } from './histories.js';
import { heading, table } from './markdown.js';

const subjectId = 2;
const subjectName = snapshotName('subject');
const caller = {};
const labels = new Map([['team', 'storage']]);

/** Variants of a command that are decided differently; the name heads the column. */
type Variants<Name extends CommandName> = Readonly<
  Record<string, Omit<CommandOf<Name>, 'command'>>
>;

const prepare = { kind: 'active', key: subjectName, parent: null, labels, caller } as const;
const commit = { key: subjectName, name: snapshotName('layer'), parent: null, labels, caller };
const maker = { pid: 842, startedAt: '5f0c1f6e-8167', program: 'containerd-9d530a4b' };
const keeper = { kind: 'maker', maker } as const;
const reason = 'it failed';
const fault = { kind: 'Error' } as const;
const usage = { size: 4096, inodes: 1 };
const owner = { uid: 0, gid: 0 };

/** Mapped over the union: a command that is not shown does not compile. */
const COMMANDS: { readonly [Name in CommandName]: Variants<Name> } = {
  Prepare: {
    Prepare: prepare,
    View: { ...prepare, kind: 'view' },
    'Prepare with a ref': { ...prepare, labels: new Map([[TARGET_LABEL, REF]]) },
    'Prepare, the key of another client': { ...prepare, nameKeeper: keeper },
  },
  Commit: {
    'to a free name': commit,
    'to its own key': { ...commit, name: subjectName },
    'to a taken name': { ...commit, name: snapshotName('base') },
    'onto a parent': { ...commit, parent: snapshotName('base') },
    'onto a parent that is not there': { ...commit, parent: snapshotName('nobody') },
    'kept from the caller': { ...commit, keeper },
    'to the name of another client': { ...commit, name: snapshotName('base'), nameKeeper: keeper },
  },
  UpdateLabels: {
    'all labels': { name: subjectName, labels, paths: [], caller },
    'one label': { name: subjectName, labels, paths: ['labels.team'], caller },
    'the parent': { name: subjectName, labels, paths: ['labels.team', 'parent'], caller },
    'kept from the caller': { name: subjectName, labels, paths: [], caller, keeper },
  },
  Remove: {
    'at once': { name: subjectName, deferred: false, caller },
    'by Cleanup': { name: subjectName, deferred: true, caller },
    'kept from the caller': { name: subjectName, deferred: false, caller, keeper },
  },
  DirectoriesReady: { decision: {} },
  IdsMapped: { decision: {} },
  DirectoriesFailed: { decision: { reason, fault } },
  RemoteReady: { decision: { fileSystem: 'layer-store', usage, owner } },
  RemoteFailed: { decision: { reason } },
  DataReady: { decision: { usage, owner, durability: 'data' } },
  DataFailed: { decision: { reason, fault } },
  LayerLost: { decision: { reason, retryAt: null } },
  LayerFound: { decision: { how: 'mounted' } },
  Collect: { decision: {} },
  DirectoriesGone: { decision: {} },
  RemovalFailed: { 'for the first time': { path: '/snapshots/2/fs', code: 'EBUSY', reason } },
  Recover: { decision: {} },
};

/** Clients name a snapshot; everything else knows it by its id, whatever it is called. */
const BY_NAME: ReadonlySet<CommandName> = new Set(['Prepare', 'Commit', 'UpdateLabels', 'Remove']);

export function decisions(): string {
  const names = Object.keys(COMMANDS) as CommandName[];
  return [
    heading('Decisions', 'src/machines/decide.ts'),
    'What each command leads to in each status of the snapshot it is about: events, with the status',
    'after them, or a refusal with the class that containerd is told. The snapshot is called',
    '`subject` and has no parent; a committed one named `base` stands beside it. A name says who',
    'holds it: a snapshot that is on its way out holds none, so clients find nothing there.',
    '',
    ...names.flatMap((name) => [`## ${name}`, '', statusTable(name), '']),
    '## Rules between snapshots',
    '',
    relations(),
    '',
  ].join('\n');
}

function statusTable(name: CommandName): string {
  const variants: Readonly<Record<string, object>> = COMMANDS[name];
  return table(
    ['status', ...Object.keys(variants)],
    STATUSES.map((status) => [
      status,
      ...Object.values(variants).map((rest) => {
        const command = { command: name, ...rest } as Command;
        const { forest, subject } = standing(status, null);
        return answer(forest, BY_NAME.has(name) ? holder(forest) : subject, command);
      }),
    ]),
  );
}

/** What the status of one snapshot means for another one that stands, or wants to stand, on it. */
function relations(): string {
  const link = { id: 2, name: 'subject' } as unknown as ParentLink;
  return table(
    [
      'status',
      'Prepare on it',
      'View on it',
      'Commit onto it',
      'Remove its parent',
      'Prepare with a name it has reserved',
      'Prepare with the ref it stands for',
      'The same, withheld from the client',
    ],
    STATUSES.map((status) => {
      const { forest } = standing(status, null);
      const key = snapshotName('another');
      const on = { ...prepare, key, parent: link.name };
      const orphan = inStatus('active', { id: 3, name: 'another', parent: null });
      const below = standing(status, { id: 1, name: 'base' } as unknown as ParentLink).forest;
      const withOrphan = standing(status, null).forest;
      if (orphan !== null) withOrphan.put(orphan);
      const reserved = snapshotName(reservedName({ id: 2, name: 'subject', parent: null }));
      return [
        status,
        answer(forest, null, { command: 'Prepare', ...on }),
        answer(forest, null, { command: 'Prepare', ...on, kind: 'view' }),
        answer(withOrphan, orphan, { command: 'Commit', ...commit, key, parent: link.name }),
        answer(below, below.shown(snapshotName('base')) ?? null, {
          command: 'Remove',
          name: snapshotName('base'),
          deferred: false,
          caller,
        }),
        answer(forest, forest.holderOf(reserved) ?? null, {
          command: 'Prepare',
          ...prepare,
          key: reserved,
        }),
        answer(forest, null, {
          command: 'Prepare',
          ...prepare,
          key,
          labels: new Map([[TARGET_LABEL, REF]]),
        }),
        answer(forest, null, {
          command: 'Prepare',
          ...prepare,
          key,
          labels: new Map([[TARGET_LABEL, REF]]),
          withholdsReady: true,
        }),
      ];
    }),
  );
}

interface Standing {
  readonly forest: Forest;
  readonly subject: SnapshotState | null;
}

/** The standard forest: `base` committed, and the subject in the status. */
function standing(status: Status, parent: ParentLink | null): Standing {
  const forest = new Forest();
  const base = inStatus('committed.available', { id: 1, name: 'base', parent: null });
  if (base !== null) forest.put({ ...base, remote: null, labels: new Map() });
  const subject: Subject = { id: subjectId, name: subjectName, parent };
  const state = inStatus(status, subject);
  if (state !== null) forest.put(state);
  return { forest, subject: state };
}

function holder(forest: Forest): SnapshotState | null {
  return forest.holderOf(subjectName) ?? null;
}

function answer(forest: Forest, state: SnapshotState | null, command: Command): string {
  return inWords(state, decide(forest, state, command));
}

function inWords(state: SnapshotState | null, decision: Decision): string {
  if (!decision.ok) return `*${classOf(decision.refusal)}* ${decision.refusal.name}`;
  if (decision.value.length === 0) return 'nothing';
  let current = state;
  for (const event of decision.value) {
    const version = streamVersion((current?.streamVersion ?? -1) + 1);
    const time = (current?.updatedAt ?? 0n) as SnapshotState['updatedAt'];
    current = fold(current, { event, time, streamVersion: version });
  }
  return `${decision.value.map(({ type }) => type).join(', ')} → ${current?.status ?? ''}`;
}
