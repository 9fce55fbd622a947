/**
 * The statechart as a table, read once from the machine's own definition: for each status the
 * events it accepts and where they lead. Live events and replay are folded through it, hundreds of
 * thousands per second; a property test compares it with XState's `transition`. Features of XState
 * that the table cannot express fail an assertion when the program loads.
 */
import { assert } from '../base/assert.js';
import { isSnapshotEventType, type SnapshotEventType } from './events/events.js';
import type { Recorded, SnapshotFacts } from './facts.js';
import { snapshotMachine, type MachineEvent, type StateMeta } from './snapshot-machine.js';

/** The leaves of the statechart, by their path. A test compares the list with the machine. */
export const STATUSES = [
  'absent',
  'preparing',
  'mappingIds',
  'mounting',
  'mounted',
  'active',
  'committing',
  'view',
  'committed.available',
  'committed.unavailable',
  'awaitingCleanup',
  'removing',
  'removed',
] as const;

export type Status = (typeof STATUSES)[number];

type GuardName = keyof typeof snapshotMachine.implementations.guards;

interface Branch {
  readonly guard: GuardName | null;
  /** Null: the event changes facts and leaves the status. */
  readonly target: Status | null;
}

type Row = ReadonlyMap<SnapshotEventType, readonly Branch[]>;

interface Leaf {
  readonly row: Row;
  readonly meta: StateMeta;
}

const chart: ReadonlyMap<Status, Leaf> = readChart();

/** What the statechart says of a status: what is shown, which effect runs, what a crash means. */
export function metaOf(status: Status): StateMeta {
  return leafOf(status).meta;
}

/** Whether the statechart has a transition for the event in this status. */
export function accepts(status: Status, type: SnapshotEventType): boolean {
  return leafOf(status).row.has(type);
}

/** The events that a status accepts, in the order of the definition. */
export function acceptedBy(status: Status): readonly SnapshotEventType[] {
  return [...leafOf(status).row.keys()];
}

/** Where an event leads, or null when the statechart has no transition for it here. */
export function nextStatus(
  status: Status,
  facts: SnapshotFacts | null,
  recorded: Recorded,
): Status | null {
  const branches = leafOf(status).row.get(recorded.event.type);
  if (branches === undefined) return null;
  const taken = branches.find(({ guard }) => guard === null || passes(guard, facts, recorded));
  return taken === undefined ? null : (taken.target ?? status);
}

/** The machine's input for a recorded event. */
export function machineEvent(recorded: Recorded): MachineEvent {
  return { type: recorded.event.type, recorded };
}

function passes(guard: GuardName, facts: SnapshotFacts | null, recorded: Recorded): boolean {
  const predicate = snapshotMachine.implementations.guards[guard];
  assert(typeof predicate === 'function', 'guards are functions', () => guard);
  return predicate({ context: { facts }, event: machineEvent(recorded) }, undefined);
}

function leafOf(status: Status): Leaf {
  const leaf = chart.get(status);
  assert(leaf !== undefined, 'every status is a leaf of the statechart', () => status);
  return leaf;
}

type Node = typeof snapshotMachine.root;

function readChart(): ReadonlyMap<Status, Leaf> {
  assertTabular(snapshotMachine.root);
  const leaves = new Map<Status, Leaf>();
  for (const node of leafNodes(snapshotMachine.root)) {
    leaves.set(statusOf(node), { row: readRow(node), meta: node.meta as StateMeta });
  }
  return leaves;
}

/**
 * The part of a state node that the table must understand in full. Targets and guards are checked
 * where they are read.
 */
export interface TabularNode {
  readonly key: string;
  readonly type: string;
  readonly entry: readonly unknown[];
  readonly exit: readonly unknown[];
  readonly invoke: readonly unknown[];
  readonly after: readonly unknown[];
  readonly always?: readonly unknown[] | undefined;
  readonly states: Readonly<Record<string, TabularNode>>;
  readonly transitions: ReadonlyMap<
    string,
    readonly {
      readonly actions: readonly unknown[];
      readonly target?: readonly unknown[] | undefined;
    }[]
  >;
}

/** @throws InvariantBroken if a state or transition does more than `record` and change the state */
export function assertTabular(node: TabularNode): void {
  const state = () => node.key;
  assert(
    ['atomic', 'compound', 'final'].includes(node.type),
    'no parallel or history states',
    state,
  );
  assert(node.entry.length === 0, 'states have no entry actions', state);
  assert(node.exit.length === 0, 'states have no exit actions', state);
  assert(node.invoke.length === 0, 'states invoke nothing', state);
  assert(node.after.length === 0, 'states have no delayed transitions', state);
  assert((node.always ?? []).length === 0, 'states have no eventless transitions', state);
  for (const [type, transitions] of node.transitions) {
    for (const { actions, target } of transitions) {
      const where = () => `${node.key}: ${type}`;
      assert(actions.length === 1 && actions[0] === 'record', 'transitions only record', where);
      assert((target ?? []).length <= 1, 'transitions have one target', where);
    }
  }
  Object.values(node.states).forEach(assertTabular);
}

function leafNodes(node: Node): readonly Node[] {
  const children = Object.values(node.states);
  return children.length === 0 ? [node] : children.flatMap(leafNodes);
}

/** A leaf's own transitions come before those of the states around it, as in XState. */
function readRow(leaf: Node): Row {
  const row = new Map<SnapshotEventType, Branch[]>();
  for (let node: Node | undefined = leaf; node !== undefined; node = node.parent) {
    for (const [type, transitions] of node.transitions) {
      assert(isSnapshotEventType(type), 'every event of the statechart has a schema', () => type);
      const branches = transitions.map((transition) => ({
        guard: guardName(transition.guard),
        target: targetOf(transition.target),
      }));
      row.set(type, [...(row.get(type) ?? []), ...branches]);
    }
  }
  return row;
}

function targetOf(targets: readonly Node[] | undefined): Status | null {
  const target = targets?.[0];
  if (target === undefined) return null;
  let node = target;
  while (Object.keys(node.states).length > 0) {
    const initial: Node | undefined = node.initial.target[0];
    assert(initial !== undefined, 'compound states have an initial state', () => node.key);
    node = initial;
  }
  return statusOf(node);
}

function statusOf(node: Node): Status {
  const path = node.path.join('.');
  const status = STATUSES.find((known) => known === path);
  assert(status !== undefined, 'every leaf of the statechart is in STATUSES', () => path);
  return status;
}

function guardName(guard: unknown): GuardName | null {
  if (guard === undefined) return null;
  const known = Object.keys(snapshotMachine.implementations.guards);
  assert(typeof guard === 'string' && known.includes(guard), 'guards are named in the setup');
  return guard;
}
