/**
 * Goal: the picture of the statechart has every state and arrow of the machine and no other, and
 * marks of a life what happened in it. Method: the machine's own definition is the list.
 */
import { describe, expect, it } from 'vitest';
import { position, snapshotId, streamVersion, unixNanos } from '../../src/base/units.js';
import {
  arrowPositions,
  chartFrame,
  statePositions,
} from '../../src/inspect/chart/chart-layout.js';
import { chartMermaid } from '../../src/inspect/chart/chart-mermaid.js';
import { snapshotDefinition, snapshotOutline } from '../../src/inspect/chart/chart-outline.js';
import { chartSvg } from '../../src/inspect/chart/chart-picture.js';
import { marksOf, stepsOf } from '../../src/inspect/chart/life-chart.js';
import type { LogRecord } from '../../src/log/types.js';
import { acceptedBy, STATUSES } from '../../src/machines/transition-table.js';

const { states, arrows } = snapshotOutline;

const recorded = (
  type: string,
  data: Readonly<Record<string, unknown>>,
  at: number,
): LogRecord => ({
  position: position(at),
  time: unixNanos(BigInt(at)),
  stream: 'snapshot-1',
  streamVersion: streamVersion(at),
  type,
  schemaVersion: 1,
  data,
  closesStream: false,
});

const preparing = {
  ...{ id: 1, key: 'k', kind: 'active', parent: null, labels: {} },
  remote: { ref: 'r', fileSystems: ['f'] },
  ...{ idMapping: null, caller: {} },
};
const committed = {
  ...{ name: 'n', labels: {}, usage: { size: 1, inodes: 1 }, parent: null },
  ...{ owner: { uid: 0, gid: 0 }, remote: null, durability: 'data' },
};

const life = [
  recorded('SnapshotPreparing', preparing, 0),
  recorded('RemoteMountStarted', {}, 1),
  recorded('RemoteMounted', { fileSystem: 'f' }, 2),
  recorded('SnapshotCommitted', committed, 3),
  recorded('LabelsUpdated', { labels: {}, caller: {} }, 4),
  recorded('SnapshotRemoving', { deferred: true, caller: {} }, 5),
];

describe('the picture of the statechart', () => {
  it('has a place for each state and arrow of the machine, and for nothing else', () => {
    expect([...statePositions.keys()].sort()).toEqual(states.map(({ path }) => path).sort());
    expect([...arrowPositions.keys()].sort()).toEqual(arrows.map(({ id }) => id).sort());
  });

  it('is drawn of all leaves that replay knows, and of all events that they accept', () => {
    const leaves = states.filter(({ isCompound }) => !isCompound).map(({ path }) => path);
    expect(leaves.sort()).toEqual([...STATUSES].sort());
    for (const status of STATUSES) {
      const drawn = arrows
        .filter(({ from }) => status === from || status.startsWith(`${from}.`))
        .map(({ event }) => event);
      expect(new Set(drawn), status).toEqual(new Set(acceptedBy(status)));
    }
  });

  it('begins and ends each arrow at the edges of its states', () => {
    const isOnEdge = ([x, y]: readonly [number, number], path: string): boolean => {
      const box = statePositions.get(path);
      if (box === undefined) return false;
      const [right, bottom] = [box.x + box.width, box.y + box.height];
      const isInside = x >= box.x && x <= right && y >= box.y && y <= bottom;
      return isInside && (x === box.x || x === right || y === box.y || y === bottom);
    };
    for (const { id, from, to } of arrows) {
      const line = arrowPositions.get(id)?.line ?? [];
      expect(isOnEdge(line[0] ?? [0, 0], from), `${id} from`).toBe(true);
      expect(isOnEdge(line.at(-1) ?? [0, 0], to), `${id} to`).toBe(true);
    }
  });

  it('names each arrow, or lets one on the same line name it', () => {
    const named = new Set(
      arrows.filter(({ id }) => arrowPositions.get(id)?.label !== null).map(words),
    );
    expect(arrows.map(words).filter((text) => !named.has(text))).toEqual([]);
  });

  it('keeps everything within its frame', () => {
    const { x, y, width, height } = chartFrame;
    for (const { line } of arrowPositions.values()) {
      for (const [pointX, pointY] of line) {
        expect(pointX).toBeGreaterThan(x);
        expect(pointX).toBeLessThan(x + width);
        expect(pointY).toBeGreaterThan(y);
        expect(pointY).toBeLessThan(y + height);
      }
    }
  });

  it('marks the way of a life and lights where it stands', () => {
    const steps = stepsOf(life);
    expect(steps.map(({ arrow }) => arrow)).toEqual([
      'absent:SnapshotPreparing',
      'preparing:RemoteMountStarted[isAsked]',
      'mounting:RemoteMounted',
      'mounted:SnapshotCommitted',
      'committed:LabelsUpdated',
      'committed:SnapshotRemoving[isDeferred]',
    ]);
    const marks = marksOf({ id: snapshotId(1), before: null, steps });
    expect(marks.lit).toBe('awaitingCleanup');
    const svg = chartSvg({ marks, isStandAlone: true });
    expect(svg.match(/<g class="arrow taken"/g)).toHaveLength(6);
    expect(svg.match(/<g class="state[^"]* lit"/g)).toHaveLength(1);
    expect(svg).toContain('<g class="state visited lit" data-state="awaitingCleanup">');
  });

  it('has no style of its own where the page forbids it', () => {
    expect(chartSvg({ isStandAlone: false })).not.toMatch(/<style|style=/);
  });
});

describe('the statechart as Mermaid text', () => {
  it('lights one state', () => {
    const text = chartMermaid(snapshotDefinition, 'committed.unavailable');
    expect(text.startsWith('stateDiagram-v2\n')).toBe(true);
    expect(text).toContain('\n  class unavailable lit');
    for (const { event } of arrows) expect(text).toContain(event);
  });
});

const words = ({ event, guard }: (typeof arrows)[number]): string => `${event} ${guard ?? ''}`;
