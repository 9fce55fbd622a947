/** Events become JSON and come back the same, and what is not understood is said to be so. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { daemonExamples, snapshotExamples } from '../../scripts/docs/examples.js';
import { snapshotId, streamVersion, unixNanos } from '../../src/base/units.js';
import {
  decodeDaemonEvent,
  type DaemonEventType,
} from '../../src/machines/events/daemon-events.js';
import {
  encodeSnapshotEvent,
  snapshotEventSchemas,
  type SnapshotEvent,
  type SnapshotEventType,
} from '../../src/machines/events/events.js';
import {
  EventNotUnderstood,
  idOfStream,
  streamOf,
  understand,
  decodeSnapshotEvent,
} from '../../src/machines/events/streams.js';
import { eventOf } from '../support/arbitraries.js';

/** As the log does it: text on disk lies between the two. */
function throughJson(event: SnapshotEvent): SnapshotEvent {
  return decodeSnapshotEvent(event.type, JSON.parse(JSON.stringify(encodeSnapshotEvent(event))));
}

function recordOf(type: string, data: unknown, stream = 'snapshot-17', schemaVersion = 1) {
  return {
    stream,
    type,
    data,
    schemaVersion,
    time: unixNanos(1n),
    streamVersion: streamVersion(0),
  };
}

describe('events', () => {
  it('survive the way through JSON, whatever their labels are called', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(eventOf(3), (event) => {
        seen.add(event.type);
        expect(throughJson(event)).toEqual(event);
      }),
      { numRuns: 2000 },
    );
    expect([...seen].sort()).toEqual(Object.keys(snapshotEventSchemas).sort());
  });

  it('keep a label named __proto__ as an ordinary one', () => {
    const labels = new Map([
      ['__proto__', 'polluted'],
      ['constructor', 'too'],
    ]);
    const event: SnapshotEvent = { type: 'LabelsUpdated', data: { labels, caller: {} } };
    expect(JSON.stringify(encodeSnapshotEvent(event))).toContain('"__proto__":"polluted"');
    expect(throughJson(event)).toEqual(event);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it.each(Object.keys(daemonExamples) as DaemonEventType[])('decode %s of the daemon', (type) => {
    const data: unknown = JSON.parse(JSON.stringify(daemonExamples[type]));
    expect(decodeDaemonEvent(type, data)).toEqual({ type, data: daemonExamples[type] });
  });

  it.each(
    (Object.keys(snapshotExamples) as SnapshotEventType[]).filter(
      (type) => Object.keys(snapshotExamples[type]).length > 0,
    ),
  )('refuse a body of %s with a field missing', (type) => {
    expect(() => understand(recordOf(type, {}))).toThrow(EventNotUnderstood);
  });
});

describe('understanding a record', () => {
  it('names the snapshot by its stream', () => {
    const understood = understand(recordOf('SnapshotPrepared', {}));
    expect(understood).toMatchObject({ about: 'snapshot', id: 17 });
    expect(idOfStream(streamOf(snapshotId(17)))).toBe(17);
  });

  it.each(['snapshot-0', 'snapshot-01', 'snapshot-', 'snapshot-1x', 'daemon'])(
    'refuses a snapshot event in the stream %s',
    (stream) => {
      expect(() => understand(recordOf('SnapshotPrepared', {}, stream))).toThrow(
        EventNotUnderstood,
      );
    },
  );

  it.each([
    ['an unknown type', recordOf('SnapshotTeleported', {}), true],
    ['a newer version', recordOf('SnapshotPrepared', {}, 'snapshot-1', 2), true],
    ['a malformed body', recordOf('LabelsUpdated', { labels: { a: 1 }, caller: {} }), false],
    ['a type that is a property of every object', recordOf('toString', {}), true],
  ])('says of %s whether a newer release wrote it', (_what, record, isNewer) => {
    let thrown: unknown;
    try {
      understand(record);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(EventNotUnderstood);
    expect((thrown as EventNotUnderstood).isNewer).toBe(isNewer);
  });
});
