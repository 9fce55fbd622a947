/**
 * Goal: the quick way to decode a body never says anything else than the schema. Method: bodies as
 * the program writes them, and the same bodies with one field dropped, added or replaced by a value
 * of another kind; whatever the quick way answers must be what the schema answers.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { snapshotEventSchemas, type SnapshotEventType } from '../../src/machines/events/events.js';
import { quickDecode } from '../../src/machines/events/quick-decode.js';

const caller = {
  ...{ namespace: 'k8s.io', lease: 'l', traceparent: 't', pid: 1, uid: 0 },
  ...{ startedAt: '5f0c1f6e-8167', program: 'containerd-9d530a4b' },
};
const parent = { id: 3, name: 'sha256:parent' };
const labels = { a: 'b', ['__proto__']: 'kept' };

const bodies: readonly (readonly [SnapshotEventType, Readonly<Record<string, unknown>>])[] = [
  [
    'SnapshotPreparing',
    {
      ...{ id: 4, kind: 'active', key: 'k', parent, labels, remote: null },
      ...{ idMapping: null, caller },
    },
  ],
  [
    'SnapshotPreparing',
    {
      ...{
        id: 4,
        kind: 'view',
        key: 'k',
        parent: null,
        labels: {},
        remote: { ref: 't', fileSystems: ['f'] },
      },
      ...{ idMapping: null, caller: {} },
    },
  ],
  ['IdMappingStarted', {}],
  ['SnapshotPrepared', {}],
  ['RemoteMountStarted', {}],
  ['SnapshotCommitting', { name: 'n', labels, parent, caller }],
  [
    'SnapshotCommitted',
    {
      ...{ name: 'n', labels, usage: { size: 1, inodes: 2 }, owner: { uid: 1, gid: 2 } },
      ...{ parent, remote: null, durability: 'data' },
    },
  ],
  [
    'SnapshotCommitted',
    {
      name: 'n',
      labels,
      usage: { size: 1, inodes: 2 },
      parent,
      remote: { ref: 'r', fileSystem: 'f' },
      owner: { uid: 0, gid: 0 },
      durability: 'metadata',
    },
  ],
  ['SnapshotRemoving', { deferred: true, caller }],
  ['SnapshotRemoved', {}],
  ['SnapshotCollecting', {}],
  ['LabelsUpdated', { labels, caller }],
];

const strange = fc.oneof(
  fc.constantFrom<unknown>(null, undefined, '', 'text', true, 0, -1, 1.5, 2 ** 60, [], {}, ['a']),
  fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer())),
  fc.record({ id: fc.anything(), name: fc.anything() }),
  fc.record({ size: fc.anything(), inodes: fc.anything() }),
  fc.constant({ ...caller, more: 1 }),
  fc.constant({ ...caller, pid: 'one' }),
  fc.constant({ ...caller, startedAt: 8167 }),
  fc.constant({ ...parent, more: 1 }),
);

function agree(type: SnapshotEventType, body: unknown): void {
  const quick = quickDecode(type, body);
  if (quick === null) return;
  const whole = snapshotEventSchemas[type]().safeParse(body);
  expect(whole.success, `the schema refuses ${JSON.stringify(body)}`).toBe(true);
  expect(quick).toEqual({ type, data: whole.data });
}

const isRemoteLayer = (type: string, body: Readonly<Record<string, unknown>>): boolean =>
  type === 'SnapshotCommitted' && body['remote'] !== null;

describe('the quick way to decode a body', () => {
  it.each(bodies)('takes %s as it is written, or leaves it to the schema', (type, body) => {
    agree(type, body);
  });

  it('takes what a log is full of', () => {
    const taken = bodies.filter(([type, body]) => quickDecode(type, body) !== null);
    expect(taken.map(([type]) => type)).toEqual(
      bodies
        .filter(([type, body]) => type !== 'LabelsUpdated' && !isRemoteLayer(type, body))
        .map(([type]) => type),
    );
  });

  it('agrees with the schema whatever a field is replaced by', () => {
    fc.assert(
      fc.property(fc.constantFrom(...bodies), fc.nat(), strange, ([type, body], at, value) => {
        const keys = Object.keys(body);
        const key = keys[at % Math.max(keys.length, 1)] ?? 'more';
        agree(type, { ...body, [key]: value });
        agree(type, Object.fromEntries(Object.entries(body).filter(([name]) => name !== key)));
        agree(type, { ...body, more: value });
        agree(type, value);
      }),
      { numRuns: 2000 },
    );
  });
});
