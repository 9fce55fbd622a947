/** Which texts find a snapshot: by a table over one event of each sort. */
import { expect, it } from 'vitest';
import { streamVersion, unixNanos } from '../../src/base/units.js';
import { bearsText, namespaceIn, withoutSequence } from '../../src/inspect/bears-text.js';
import type { RecordLike } from '../../src/machines/streams.js';

const digest = `sha256:${'0123456789ab'.padEnd(64, 'c')}`;
const other = `sha256:${'ba9876543210'.padEnd(64, 'd')}`;

const record = (type: string, data: unknown, stream = 'snapshot-3'): RecordLike => ({
  stream,
  type,
  data,
  schemaVersion: 1,
  streamVersion: streamVersion(0),
  time: unixNanos(0n),
});

const preparing = record('SnapshotPreparing', {
  id: 3,
  kind: 'active',
  key: 'k8s.io/7/extract-1 x',
  parent: null,
  labels: { 'containerd.io/snapshot.ref': digest },
  target: other,
  caller: {},
});
const committed = record('SnapshotCommitted', {
  name: `k8s.io/8/${digest}`,
  labels: {},
  usage: { size: 1, inodes: 1 },
  parent: null,
  remote: null,
  durability: 'data',
});

it.each([
  [preparing, 'k8s.io/7/extract-1 x', true],
  [preparing, 'extract-1 x', true],
  [preparing, 'extract-1', false],
  [preparing, digest, true],
  [preparing, other, true],
  [preparing, other.slice(0, 19), true],
  [preparing, other.slice(7, 19), true],
  [committed, digest, true],
  [committed, `k8s.io/8/${digest}`, true],
  [committed, digest.slice(0, 19), true],
  [committed, digest.slice(0, 18), false],
  [committed, digest.slice(7, 18), false],
  [committed, `${digest}0`, false],
  [committed, 'sha256:0123456789AB', false],
  [committed, '', false],
  [record('SnapshotPrepared', {}), digest, false],
  [record('SnapshotFrozen', { name: digest }), digest, false],
  [record('SnapshotPreparing', { key: digest }), digest, false],
])('%#: says whether an event bears a text', (event, text, isBorne) => {
  expect(bearsText(event, text)).toBe(isBorne);
});

it.each([
  ['k8s.io/1384/sha256:ab', 'sha256:ab', 'k8s.io'],
  ['default/3/a/b', 'a/b', 'default'],
  ['plain', 'plain', null],
  ['a/b/c', 'a/b/c', null],
  ['/1/c', '/1/c', null],
])('splits %s as containerd joined it', (key, name, namespace) => {
  expect(withoutSequence(key)).toBe(name);
  expect(namespaceIn(key)).toBe(namespace);
});
