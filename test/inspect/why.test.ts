/** Why a layer is here: by a table of lives and of the settings that were in force. */
import { describe, expect, it } from 'vitest';
import { position, snapshotId, snapshotName, type Labels } from '../../src/base/units.js';
import { settingsIn, type SettingsAt } from '../../src/inspect/archive/settings-at.js';
import { labelledWith, reasonFor } from '../../src/inspect/snapshot/why.js';
import type { RemoteQuestion, SnapshotEvent } from '../../src/machines/events/events.js';
import { TARGET_LABEL } from '../../src/machines/labels.js';
import { RecordArchive, recordsOf } from '../support/record-archive.js';

const ref = `sha256:${'ab12cd34ef56'.padEnd(64, '0')}`;
const image = 'docker.io/library/busybox:1';
const asked = { ref, fileSystem: 'store' };

const unpackKey = `k8s.io/7/extract-123456789-Ab-_ ${ref}`;

const lookup = { ref, fileSystems: ['store'] };
const labels = new Map([['containerd.io/snapshot/cri.image-ref', image]]);

function preparing(
  remote: RemoteQuestion | null,
  key = unpackKey,
  given: Labels = labels,
): SnapshotEvent {
  return {
    type: 'SnapshotPreparing',
    data: {
      ...{ id: snapshotId(1), kind: 'active', key: snapshotName(key), parent: null, remote },
      ...{ idMapping: null, labels: given, caller: {} },
    },
  };
}
/** The client named a target with which no remote layer is looked for. */
const labelled = preparing(null, unpackKey, new Map([[TARGET_LABEL, ref]]));
const prepared: SnapshotEvent = { type: 'SnapshotPrepared', data: {} };
const committed = (remote: typeof asked | null): SnapshotEvent => ({
  type: 'SnapshotCommitted',
  data: {
    ...{ name: snapshotName('n'), labels: new Map(), usage: { size: 1, inodes: 1 } },
    ...{ owner: { uid: 0, gid: 0 }, parent: null, remote, durability: 'data' },
  },
});
const started: SnapshotEvent = { type: 'RemoteMountStarted', data: {} };
const failed: SnapshotEvent = { type: 'RemoteMountFailed', data: { reason: 'not in the store' } };
const abandoned: SnapshotEvent = {
  type: 'SnapshotAbandoned',
  data: { reason: 'ENOSPC', fault: { kind: 'HostFault', errno: 'ENOSPC' }, inferred: false },
};

const without = settingsIn({ fileSystem: null }, position(0));
const withStore = settingsIn({ fileSystem: 'store' }, position(0));
const silent = settingsIn({}, position(0));

type Case = readonly [string, readonly SnapshotEvent[], SettingsAt | null, string, string | null];
const noStore = preparing({ ref, fileSystems: [] });
const declined = preparing({ ref, declined: 'it was just asked' });
const cases: readonly Case[] = [
  ['mounted', [preparing(lookup), started, committed(asked)], withStore, 'remote', null],
  [
    'not had',
    [preparing(lookup), started, failed, committed(null)],
    withStore,
    'unpacked',
    'refused',
  ],
  ['with no store', [noStore, prepared, committed(null)], withStore, 'unpacked', 'no-file-system'],
  ['declined', [declined, prepared, committed(null)], withStore, 'unpacked', 'declined'],
  ['not asked', [labelled, prepared, committed(null)], withStore, 'unpacked', 'not-asked'],
  ['nor able', [labelled, prepared, committed(null)], without, 'unpacked', 'no-file-system'],
  ['of an unknown start', [labelled, prepared, committed(null)], null, 'unpacked', 'unknown'],
  ['of a silent start', [labelled, prepared, committed(null)], silent, 'unpacked', 'unknown'],
  [
    'without a target',
    [preparing(null), prepared, committed(null)],
    withStore,
    'unpacked',
    'no-target',
  ],
  ['being unpacked', [declined, prepared], withStore, 'no-layer', 'declined'],
  ['being asked', [preparing(lookup), started], withStore, 'under-way', null],
  ['abandoned', [preparing(lookup), started, failed, abandoned], withStore, 'abandoned', null],
  ['whose beginning is gone', [prepared], withStore, 'unknown', null],
  ['a container', [preparing(null, 'k8s.io/8/web'), prepared], withStore, 'no-layer', 'no-target'],
  [
    'of a build',
    [preparing(null, 'k8s.io/8/x'), committed(null)],
    withStore,
    'made-here',
    'no-target',
  ],
];

/** Keys that clients commit from, by the sources that they are made in. */
const keys: readonly (readonly [string, string])[] = [
  [`default/1/extract-123456789-AbCd ${ref}`, 'unpacked'],
  [`extract-123456789-AbCd ${ref}`, 'unpacked'],
  // BuildKit's base36 ids.
  [`buildkit/1/extract-vlr8zkjt1gsxnm4wqbd0ufy7p ${ref}`, 'unpacked'],
  ['buildkit/1/vlr8zkjt1gsxnm4wqbd0ufy7p', 'made-here'],
  [`moby/1/extract-123456789-AbCd-${ref}`, 'made-here'],
  [`moby/1/${ref.slice(7)}-init-key`, 'made-here'],
  [`moby/1/${ref.slice(7)}`, 'made-here'],
  [`moby/1/migration-${ref}`, 'made-here'],
  [`k8s.io/1/${ref}-0-65536-remap`, 'made-here'],
  ['default/1/extract-me', 'made-here'],
  [`default/1/extract- ${ref}`, 'made-here'],
];

describe('a layer', () => {
  it.each(cases)('%s is told as such', (_name, events, settings, kind, question) => {
    const records = recordsOf(events.map((event) => ({ id: snapshotId(1), event })));
    const { origin, readyAfter } = reasonFor({ id: snapshotId(1), records }, settings);
    expect(origin.kind).toBe(kind);
    expect('question' in origin ? origin.question.kind : null).toBe(question);
    const isLayer = events.some(({ type }) => type === 'SnapshotCommitted');
    expect(readyAfter === null).toBe(!isLayer);
  });

  it.each(keys)('committed from %s is told as %s', (key, kind) => {
    const events = [preparing(null, key), prepared, committed(null)];
    const records = recordsOf(events.map((event) => ({ id: snapshotId(1), event })));
    const { origin } = reasonFor({ id: snapshotId(1), records }, withStore);
    expect(origin).toMatchObject({ kind, key });
  });

  it('that a repair took in has an origin that nobody knows', () => {
    const salvaged: SnapshotEvent = {
      type: 'SnapshotSalvaged',
      data: {
        ...{ id: snapshotId(1), name: snapshotName('salvaged-1'), labels: new Map() },
        ...{ usage: { size: 1, inodes: 1 }, looked: 'committed', reason: 'its events are lost' },
        owner: { uid: 0, gid: 0 },
      },
    };
    const records = recordsOf([{ id: snapshotId(1), event: salvaged }]);
    const { origin } = reasonFor({ id: snapshotId(1), records }, withStore);
    expect(origin).toEqual({
      kind: 'unknown',
      why: 'a repair imported its directory; its events are lost',
    });
  });

  it('is found by the image in its labels, also by a short name', async () => {
    const records = recordsOf([{ id: snapshotId(1), event: preparing(null) }]);
    const archive = new RecordArchive(records);
    for (const text of [image, 'busybox:1', 'library/busybox:1']) {
      expect((await labelledWith(archive, text)).map(({ id }) => id)).toEqual([1]);
    }
    expect(await labelledWith(archive, 'busybox')).toEqual([]);
    expect(await labelledWith(archive, '1')).toEqual([]);
  });
});
