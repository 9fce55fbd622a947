/**
 * The statechart itself: its leaves, its meanings, and that every state is reached and every
 * transition taken by some path (XState's own path generator walks the definition).
 */
import { createMachine, transition, initialTransition } from 'xstate';
import { adjacencyMapToArray, getAdjacencyMap, getSimplePaths } from 'xstate/graph';
import { describe, expect, it } from 'vitest';
import { historyTo, inStatus } from '../../scripts/docs/histories.js';
import { snapshotExamples } from '../../scripts/docs/examples.js';
import { snapshotId, snapshotName, streamVersion, unixNanos } from '../../src/base/units.js';
import {
  acceptedBy,
  accepts,
  machineEvent,
  assertTabular,
  metaOf,
  STATUSES,
  type TabularNode,
} from '../../src/machines/transition-table.js';
import type { SnapshotEvent } from '../../src/machines/events/events.js';
import { snapshotMachine, type MachineEvent } from '../../src/machines/snapshot-machine.js';

const subject = { id: 7, name: 'subject', parent: null };

const recorded = (event: SnapshotEvent): MachineEvent =>
  machineEvent({ event, time: unixNanos(1n), streamVersion: streamVersion(1) });

/** Every event there is, in each variant that a guard can tell apart. */
const alphabet: readonly MachineEvent[] = [
  ...Object.entries(snapshotExamples).map(([type, data]) =>
    recorded({ type, data } as SnapshotEvent),
  ),
  recorded({
    type: 'SnapshotPreparing',
    data: { ...snapshotExamples.SnapshotPreparing, id: snapshotId(7), kind: 'view' },
  }),
  recorded({ type: 'SnapshotRemoving', data: { deferred: true, caller: {} } }),
];

/** A state's identity for the walk: where it stands, and what guards look at. */
const traversal = {
  events: [...alphabet],
  serializeEvent: (event: { type: string }) => String(alphabet.indexOf(event as MachineEvent)),
  serializeState: (state: { value: unknown; context: { facts: { preparedAs: string } | null } }) =>
    JSON.stringify([state.value, state.context.facts?.preparedAs ?? null]),
};

describe('the statechart', () => {
  it('reaches every status from nothing', () => {
    const paths = getSimplePaths(snapshotMachine, traversal);
    const reached = new Set(paths.map(({ state }) => leafOf(state.value)));
    expect([...reached].sort()).toEqual([...STATUSES].sort());
  });

  it('has each of its transitions taken by some path', () => {
    const steps = adjacencyMapToArray(getAdjacencyMap(snapshotMachine, traversal));
    const taken = new Set<string>();
    for (const { state, event } of steps) {
      const [next] = transition(snapshotMachine, state, event);
      if (next.context.facts === state.context.facts) continue;
      taken.add(`${leafOf(state.value)} ${event.type} ${leafOf(next.value)}`);
    }
    const drawn = STATUSES.flatMap((status) =>
      acceptedBy(status).map((type) => `${status} ${type}`),
    );
    for (const arrow of drawn) {
      expect(
        [...taken].some((step) => step.startsWith(`${arrow} `)),
        arrow,
      ).toBe(true);
    }
    // Both ways out of each guard.
    for (const from of ['active', 'view', 'committed.available', 'committed.unavailable']) {
      expect(taken).toContain(`${from} SnapshotRemoving removing`);
      expect(taken).toContain(`${from} SnapshotRemoving awaitingCleanup`);
    }
    expect(taken).toContain('preparing SnapshotPrepared view');
    expect(taken).toContain('preparing SnapshotPrepared active');
  });

  it('begins with nothing and ends for good', () => {
    const [begun] = initialTransition(snapshotMachine);
    expect(begun.value).toBe('absent');
    expect(acceptedBy('removed')).toEqual([]);
  });

  it.each(STATUSES)('brings a history to %s', (status) => {
    expect(inStatus(status, subject)?.status ?? 'absent').toBe(status);
    expect(historyTo(status, subject).length === 0).toBe(status === 'absent');
  });

  it('shows nothing under a name that is free', () => {
    for (const status of STATUSES) {
      if (metaOf(status).shownAs !== null) expect(metaOf(status).holdsName, status).toBe(true);
    }
  });

  it('takes labels wherever a client sees the snapshot, and nowhere else', () => {
    for (const status of STATUSES) {
      expect(accepts(status, 'LabelsUpdated'), status).toBe(metaOf(status).shownAs !== null);
    }
  });

  it('undoes after a crash only what a client has not been told of, or sees unchanged', () => {
    for (const status of STATUSES) {
      const { afterCrash, shownAs } = metaOf(status);
      if (afterCrash === undefined) continue;
      expect(accepts(status, afterCrash), status).toBe(true);
      expect(shownAs === null || shownAs === 'active', status).toBe(true);
    }
  });

  it('never destroys before the event that says so is durable', () => {
    expect(metaOf('removing').effect).toEqual({
      name: 'removeDirectories',
      onceEventIs: 'durable',
    });
    expect(metaOf('awaitingCleanup').effect).toBeUndefined();
  });

  it('keeps a name for a commit under way', () => {
    expect(inStatus('committing', subject)?.commit?.name).toBe(snapshotName('subject-layer'));
  });
});

function leafOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return Object.entries(value as Record<string, string>)
    .map(([outer, inner]) => `${outer}.${inner}`)
    .join();
}

describe('the table', () => {
  const definitionOf = (state: object) =>
    createMachine({ initial: 'only', states: { only: state, other: {} } })
      .root as unknown as TabularNode;

  it('takes transitions that record and change the state', () => {
    const state = { on: { SnapshotRemoved: { target: 'other', actions: 'record' } } };
    expect(() => assertTabular(definitionOf(state))).not.toThrow();
  });

  it.each([
    ['an entry action', { entry: 'record' }, 'states have no entry actions: only'],
    ['an exit action', { exit: 'record' }, 'states have no exit actions: only'],
    ['an invocation', { invoke: { src: 'work' } }, 'states invoke nothing: only'],
    [
      'a delayed transition',
      { after: { 100: { target: 'other' } } },
      // XState makes an entry action of the delay.
      'states have no entry actions: only',
    ],
    [
      'an eventless transition',
      { always: { target: 'other' } },
      'states have no eventless transitions: only',
    ],
    [
      'a transition without an action',
      { on: { SnapshotRemoved: 'other' } },
      'transitions only record: only: SnapshotRemoved',
    ],
    [
      'a transition with another action',
      { on: { SnapshotRemoved: { actions: ['record', 'notify'] } } },
      'transitions only record: only: SnapshotRemoved',
    ],
    [
      'parallel states',
      { type: 'parallel', states: { a: {}, b: {} } },
      'no parallel or history states: only',
    ],
  ])('refuses %s when the program loads', (_what, state, message) => {
    expect(() => assertTabular(definitionOf(state))).toThrow(message);
  });
});
