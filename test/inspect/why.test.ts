/** Why a layer is here: by a table of lives and of the settings that were in force. */
import { describe, expect, it } from 'vitest';
import { position, snapshotId, snapshotName } from '../../src/base/units.js';
import { settingsIn, type SettingsThen } from '../../src/inspect/settings-then.js';
import { labelledWith, reasonFor } from '../../src/inspect/why.js';
import type { SnapshotEvent } from '../../src/machines/events.js';
import { RecordArchive, recordsOf } from '../support/record-archive.js';

const ref = 'sha256:a';
const image = 'docker.io/library/busybox:1';
const asked = { ref, fileSystem: 'store' };

function preparing(target: string | null): SnapshotEvent {
  return {
    type: 'SnapshotPreparing',
    data: {
      ...{ id: snapshotId(1), kind: 'active', key: snapshotName('k'), parent: null, target },
      ...{ labels: new Map([['containerd.io/snapshot/cri.image-ref', image]]), caller: {} },
    },
  };
}
const prepared: SnapshotEvent = { type: 'SnapshotPrepared', data: {} };
const committed = (remote: typeof asked | null): SnapshotEvent => ({
  type: 'SnapshotCommitted',
  data: {
    ...{ name: snapshotName('n'), labels: new Map(), usage: { size: 1, inodes: 1 } },
    ...{ parent: null, remote, durability: 'data' },
  },
});
const started: SnapshotEvent = { type: 'RemoteMountStarted', data: asked };
const failed: SnapshotEvent = { type: 'RemoteMountFailed', data: { reason: 'not in the store' } };
const abandoned: SnapshotEvent = {
  type: 'SnapshotAbandoned',
  data: { reason: 'ENOSPC', inferred: false },
};

const without = settingsIn({ fileSystem: null }, position(0));
const withStore = settingsIn({ fileSystem: 'store' }, position(0));
const silent = settingsIn({}, position(0));

type Case = readonly [string, readonly SnapshotEvent[], SettingsThen | null, string];
const cases: readonly Case[] = [
  ['mounted', [preparing(ref), started, committed(asked)], withStore, 'remote'],
  ['not had', [preparing(ref), started, failed, committed(null)], withStore, 'refused'],
  ['without a file system', [preparing(ref), prepared, committed(null)], without, 'no-file-system'],
  ['not asked', [preparing(ref), prepared, committed(null)], withStore, 'not-asked'],
  ['of a start that is retired', [preparing(ref), prepared], null, 'unknown'],
  ['of a start that told nothing', [preparing(ref), prepared], silent, 'unknown'],
  ['without a target', [preparing(null), prepared, committed(null)], withStore, 'no-target'],
  ['a container', [preparing(null), prepared], withStore, 'no-layer'],
  ['being asked', [preparing(ref), started], withStore, 'under-way'],
  ['given up', [preparing(ref), started, abandoned], withStore, 'abandoned'],
  ['whose beginning is gone', [prepared], withStore, 'unknown'],
];

describe('a layer', () => {
  it.each(cases)('%s is told as such', (_name, events, settings, kind) => {
    const records = recordsOf(events.map((event) => ({ id: snapshotId(1), event })));
    const reason = reasonFor({ id: snapshotId(1), records }, settings);
    expect(reason.decision.kind).toBe(kind);
    const isLayer = events.some(({ type }) => type === 'SnapshotCommitted');
    expect(reason.readyAfter === null).toBe(!isLayer);
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
