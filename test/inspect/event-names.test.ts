/** Which texts find a snapshot: by a table over one event of each sort. */
import { expect, it } from 'vitest';
import { streamVersion, unixNanos } from '../../src/base/units.js';
import { fitOfRecord, namespaceIn, withoutSequence } from '../../src/inspect/events/event-names.js';
import type { RecordLike } from '../../src/machines/events/streams.js';

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
  remote: { ref: other, fileSystems: [] },
  idMapping: null,
  caller: {},
});
const committed = record('SnapshotCommitted', {
  name: `k8s.io/8/${digest}`,
  labels: {},
  usage: { size: 1, inodes: 1 },
  parent: null,
  remote: null,
  owner: { uid: 0, gid: 0 },
  durability: 'data',
});

const container = '0b370ce164dd2ab1c4cff02c80d1c1caedbdea9a94d6d2dd3584f5ecb36ca4e1';
const named = (key: string) =>
  record('SnapshotPreparing', {
    ...{ id: 3, kind: 'active', key, parent: null, labels: {}, remote: null, caller: {} },
    idMapping: null,
  });

it.each([
  [preparing, 'k8s.io/7/extract-1 x', 'whole'],
  [preparing, 'extract-1 x', 'whole'],
  [preparing, 'extract-1', 'prefix'],
  [preparing, 'extract', null],
  [preparing, digest, 'whole'],
  [preparing, digest.slice(7), 'whole'],
  [preparing, other, 'whole'],
  [preparing, other.slice(0, 19), 'prefix'],
  [preparing, other.slice(7, 19), 'prefix'],
  [committed, digest, 'whole'],
  [committed, `k8s.io/8/${digest}`, 'whole'],
  [committed, `k8s.io/8/${digest.slice(0, 15)}`, 'prefix'],
  [committed, `k8s.io/9/${digest.slice(0, 15)}`, null],
  [committed, digest.slice(0, 15), 'prefix'],
  [committed, digest.slice(0, 14), null],
  [committed, digest.slice(7, 15), 'prefix'],
  [committed, digest.slice(7, 14), null],
  [committed, digest.slice(8, 24), null],
  [committed, `${digest}0`, null],
  [committed, 'sha256:0123456789AB', null],
  [committed, 'sha256:', null],
  [committed, 'k8s.io/8/', null],
  [committed, '', null],
  [named(`moby/1/${container}`), container.slice(0, 12), 'prefix'],
  [named(`moby/1/${container}`), container.slice(0, 13), 'prefix'],
  [named(`moby/1/${container}`), container.slice(0, 8), 'prefix'],
  [named(`moby/1/${container}`), container.slice(0, 7), null],
  [named(`moby/1/${container}`), container, 'whole'],
  [named(`moby/1/${container}`), `sha256:${container.slice(0, 12)}`, null],
  [named(`moby/1/${container}-init-key`), container.slice(0, 12), 'prefix'],
  [named(container), container.slice(0, 12), 'prefix'],
  [named(`pods/a/${container}`), container.slice(0, 12), 'prefix'],
  [named(`pods/a/${container}`), `pods/a/${container.slice(0, 4)}`, 'prefix'],
  [named('namespace/12/web'), 'namespace', null],
  [named('namespace/12/web'), 'namespace/12/w', null],
  [record('SnapshotPrepared', {}), digest, null],
  [record('SnapshotFrozen', { name: digest }), digest, null],
  // Malformed, and still about that key.
  [record('SnapshotPreparing', { key: digest }), digest, 'whole'],
  [record('SnapshotPreparing', { key: 7, labels: null }), '7', null],
  [record('SnapshotPreparing', 7), '7', null],
])('%#: tells how the names of an event fit a text', (event, text, fit) => {
  expect(fitOfRecord(event, text)).toBe(fit);
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
