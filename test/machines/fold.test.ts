/** Replay: the derived table moves exactly as XState does, and a checkpoint changes nothing. */
import fc from 'fast-check';
import { initialTransition, transition } from 'xstate';
import { describe, expect, it } from 'vitest';
import { InvariantBroken } from '../../src/base/assert.js';
import { streamVersion, unixNanos } from '../../src/base/units.js';
import {
  accepts,
  machineEvent,
  nextStatus,
  STATUSES,
} from '../../src/machines/transition-table.js';
import type { Recorded } from '../../src/machines/facts.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { snapshotMachine } from '../../src/machines/snapshot-machine.js';
import {
  decodeHead,
  decodeState,
  encodeHead,
  encodeState,
} from '../../src/machines/snapshots/state-json.js';
import { snapshotId } from '../../src/base/units.js';
import { historyTo, inStatus } from '../../scripts/docs/histories.js';
import { eventOf } from '../support/arbitraries.js';

/** A walk begins in some status, so that all of them are left often. */
const walk = fc.record({
  from: fc.constantFrom(...STATUSES),
  events: fc.array(eventOf(7), { maxLength: 12 }),
});

const subject = { id: 7, name: 'subject', parent: null };

function recordedAt(event: Recorded['event'], index: number): Recorded {
  return {
    event,
    time: unixNanos(1_700_000_000_000_000_000n + BigInt(index)),
    streamVersion: streamVersion(index),
  };
}

describe('fold', () => {
  it('equals XState for every sequence, and throws where XState stays', () => {
    const visited = new Set<string>();
    fc.assert(
      fc.property(walk, ({ from, events }) => {
        let [machineState] = initialTransition(snapshotMachine);
        let state: SnapshotState | null = null;
        [...historyTo(from, subject), ...events].forEach((event, index) => {
          const recorded = recordedAt(event, index);
          const [next] = transition(snapshotMachine, machineState, machineEvent(recorded));
          const status = state?.status ?? 'absent';
          const isTaken = nextStatus(status, state, recorded) !== null;
          expect(isTaken && !accepts(status, event.type)).toBe(false);
          if (!isTaken) {
            expect(next.value).toEqual(machineState.value);
            expect(next.context).toEqual(machineState.context);
            expect(() => fold(state, recorded)).toThrow(InvariantBroken);
            return;
          }
          state = fold(state, recorded);
          const { status: folded, ...facts } = state;
          expect(next.matches(pathOf(folded))).toBe(true);
          expect(facts).toEqual(next.context.facts);
          machineState = next;
          visited.add(folded);
        });
      }),
      { numRuns: 1500 },
    );
    expect(visited.size).toBe(STATUSES.length - 1);
  });

  it('goes on from a checkpoint as it would have from the beginning', () => {
    fc.assert(
      fc.property(walk, fc.nat(20), ({ from, events }, cut) => {
        let lived: SnapshotState | null = null;
        let restored: SnapshotState | null = null;
        [...historyTo(from, subject), ...events].forEach((event, index) => {
          const recorded = recordedAt(event, index);
          if (nextStatus(lived?.status ?? 'absent', lived, recorded) === null) return;
          lived = fold(lived, recorded);
          restored = fold(restored, recorded);
          if (index === cut && restored.status !== 'removed') {
            restored = decodeState(encodeState(restored));
          }
        });
        expect(restored).toEqual(lived);
      }),
      { numRuns: 1000 },
    );
  });

  it('has no reason of a removal before the removal is decided', () => {
    const removing = new Set<string>(['awaitingCleanup', 'removing', 'removed']);
    for (const status of STATUSES) {
      const state = inStatus(status, subject);
      if (state !== null) expect(state.removal !== null, status).toBe(removing.has(status));
    }
  });

  it('keeps a label named __proto__ in a checkpoint, on the snapshot and on its mount', () => {
    const state = inStatus('committed.available', subject);
    const labels = new Map([['__proto__', 'kept']]);
    if (state?.remote == null) throw new Error('a remote layer was expected');
    const changed = { ...state, labels, remote: { ...state.remote, mountLabels: labels } };
    expect(decodeState(encodeState(changed))).toEqual(changed);
    expect(decodeState(encodeState(changed)).labels.get('__proto__')).toBe('kept');
  });

  it('keeps the head of a checkpoint, and refuses that of another schema', () => {
    const head = {
      nextId: snapshotId(41),
      preallocated: [snapshotId(40)],
      setAside: [['39', 'unowned', 'fs is not empty'] as const],
      released: ['notes'],
      daemonStreamVersion: 12,
      checkedTo: 77,
    };
    expect(decodeHead(encodeHead(head))).toMatchObject(head);
    expect(() => decodeHead(JSON.stringify({ schema: 99, ...head }))).toThrow();
  });
});

type MachineState = ReturnType<typeof initialTransition<typeof snapshotMachine>>[0];
type StateValue = Parameters<MachineState['matches']>[0];

function pathOf(status: SnapshotState['status']): StateValue {
  const [outer, inner] = status.split('.');
  return (inner === undefined ? outer : { [outer ?? '']: inner }) as StateValue;
}
