/**
 * Goal: the wire is containerd's, byte by byte, and nothing a client sends is lost or bent.
 * Method: round trips of every field, bytes written by hand from containerd's field numbers, and
 * the generator itself.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { afterEach, expect, test } from 'vitest';
import * as wire from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { Mount } from '../../src/api/generated/containerd/types/mount.js';
import { aDirectory, cleanUp } from './rig.js';

afterEach(cleanUp);

const hostile = new Map([
  ['__proto__', 'polluted'],
  ['constructor', ''],
  ['', 'empty key'],
  ['containerd.io/snapshot.ref', 'sha256:ab'],
  ['ключ 🔑', 'значение'],
]);
const info: wire.Info = {
  name: 'k8s.io/1/sha256:ab',
  parent: 'p',
  kind: wire.Kind.COMMITTED,
  createdAt: { seconds: -62_135_596_800n, nanos: 0 },
  updatedAt: { seconds: 253_402_300_799n, nanos: 999_999_999 },
  labels: hostile,
};
const mounts: Mount[] = [
  { type: 'overlay', source: 'overlay', target: 't', options: ['lowerdir=/a:/b', '', 'ro'] },
  { type: 'bind', source: '/x', target: '', options: [] },
];

interface Codec<Message> {
  encode(message: Message): BinaryWriter;
  decode(bytes: Uint8Array): Message;
}

function survives<Message>(codec: Codec<Message>, message: Message): void {
  const bytes = codec.encode(message).finish();
  expect(codec.decode(bytes)).toEqual(message);
  // A field of a later version: number 99, in each wire form. It is skipped, not kept.
  const later = new BinaryWriter()
    .raw(bytes)
    .uint32((99 << 3) | 2)
    .string('later')
    .uint32((99 << 3) | 0)
    .uint64(2n ** 63n)
    .uint32((99 << 3) | 5)
    .fixed32(7)
    .uint32((99 << 3) | 1)
    .fixed64(7n);
  expect(codec.decode(later.finish())).toEqual(message);
}

test('every field of every message survives, and unknown fields are skipped', () => {
  const name = { snapshotter: 's', key: 'default/7/extract-1 sha256:ab' };
  survives(wire.PrepareSnapshotRequest, { ...name, parent: 'p', labels: hostile });
  survives(wire.PrepareSnapshotResponse, { mounts });
  survives(wire.ViewSnapshotRequest, { ...name, parent: 'p', labels: hostile });
  survives(wire.ViewSnapshotResponse, { mounts });
  survives(wire.MountsRequest, name);
  survives(wire.MountsResponse, { mounts });
  survives(wire.RemoveSnapshotRequest, name);
  survives(wire.CommitSnapshotRequest, { ...name, name: 'n', labels: hostile, parent: 'p' });
  survives(wire.StatSnapshotRequest, name);
  survives(wire.StatSnapshotResponse, { info });
  survives(wire.UpdateSnapshotRequest, {
    snapshotter: 's',
    info,
    updateMask: ['labels', 'labels.containerd.io/gc.root', 'labels.a,b', 'labels.some_snake.Case'],
  });
  survives(wire.UpdateSnapshotRequest, { snapshotter: '', info: undefined, updateMask: [] });
  survives(wire.UpdateSnapshotResponse, { info });
  survives(wire.ListSnapshotsRequest, { snapshotter: 's', filters: ['', 'labels."a/b"==c'] });
  survives(wire.ListSnapshotsResponse, { info: [info, { ...info, kind: wire.Kind.ACTIVE }] });
  survives(wire.UsageRequest, name);
  survives(wire.UsageResponse, { size: 2n ** 63n - 1n, inodes: 2n ** 53n + 1n });
  survives(wire.CleanupRequest, { snapshotter: 's' });
  expect({}).not.toHaveProperty('polluted');
});

test('an absent mask and an empty one are told apart', () => {
  const request = { snapshotter: '', info: undefined, updateMask: undefined };
  const decoded = wire.UpdateSnapshotRequest.decode(
    wire.UpdateSnapshotRequest.encode(request).finish(),
  );
  expect(decoded.updateMask).toBeUndefined();
});

test("the numbers on the wire are containerd's", () => {
  const field = (writer: BinaryWriter, number: number, text: string): BinaryWriter =>
    writer.uint32((number << 3) | 2).string(text);
  const commit = new BinaryWriter();
  for (const [number, text] of [
    [1, 's'],
    [2, 'name'],
    [3, 'key'],
    [5, 'parent'],
  ] as const) {
    field(commit, number, text);
  }
  field(field(commit.uint32((4 << 3) | 2).fork(), 1, '__proto__'), 2, 'v').join();
  expect(wire.CommitSnapshotRequest.decode(commit.finish())).toEqual({
    snapshotter: 's',
    name: 'name',
    key: 'key',
    labels: new Map([['__proto__', 'v']]),
    parent: 'parent',
  });

  const time = (writer: BinaryWriter, number: number): BinaryWriter =>
    writer
      .uint32((number << 3) | 2)
      .fork()
      .uint32(1 << 3)
      .int64(1_700_000_000n)
      .uint32(2 << 3)
      .int32(123_456_789)
      .join();
  const stat = new BinaryWriter();
  field(field(stat, 1, 'n'), 2, 'p')
    .uint32(3 << 3)
    .int32(2);
  time(time(stat, 4), 5);
  const at = { seconds: 1_700_000_000n, nanos: 123_456_789 };
  expect(wire.Info.decode(stat.finish())).toEqual({
    name: 'n',
    parent: 'p',
    kind: wire.Kind.ACTIVE,
    createdAt: at,
    updatedAt: at,
    labels: new Map(),
  });
  const mount = new BinaryWriter();
  for (const [number, text] of [
    [1, 'type'],
    [2, 'source'],
    [3, 'target'],
    [4, 'o1'],
    [4, 'o2'],
  ] as const) {
    field(mount, number, text);
  }
  expect(Mount.decode(mount.finish())).toEqual({
    type: 'type',
    source: 'source',
    target: 'target',
    options: ['o1', 'o2'],
  });
  const methods = Object.values(wire.SnapshotsService).map((method) =>
    method.path.split('/').pop(),
  );
  expect(methods.join(' ')).toBe(
    'Prepare View Mounts Commit Remove Stat Update List Usage Cleanup',
  );
  expect(wire.SnapshotsService.list.responseStream).toBe(true);
  expect(wire.SnapshotsService.prepare.path).toBe(
    '/containerd.services.snapshots.v1.Snapshots/Prepare',
  );
});

test('the checked-in code is what the protos generate', async () => {
  const root = resolve(import.meta.dirname, '../..');
  const output = await aDirectory();
  // The plugins of the template are named relative to the package.
  await promisify(execFile)('node_modules/.bin/buf', ['generate', 'proto', '--output', output], {
    cwd: root,
  });
  const generated = join(output, 'src/api/generated');
  const files = await readdir(generated, { recursive: true, withFileTypes: true });
  const names = files
    .filter((entry) => entry.isFile())
    .map((entry) => relative(generated, join(entry.parentPath, entry.name)));
  const here = join(root, 'src/api/generated');
  const kept = (await readdir(here, { recursive: true })).filter((name) => name.endsWith('.ts'));
  expect(names.sort()).toEqual(kept.sort());
  for (const name of names) {
    const text = await readFile(join(generated, name), 'utf8');
    expect(text, `${name}: run npm run generate`).toBe(await readFile(join(here, name), 'utf8'));
  }
});
