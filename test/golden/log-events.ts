/**
 * The appends of the golden log, in order. One list, so that a release with real events only has
 * to change this file: each entry is one append (a unit), and `sync` says whether it is waited for.
 */
import { streamVersion } from '../../src/base/units.js';
import type { EventBody, EventToAppend } from '../../src/log/types.js';

export interface GoldenAppend {
  readonly sync: boolean;
  readonly events: readonly EventToAppend[];
}

const event = (
  stream: string,
  version: number,
  type: string,
  data: EventBody,
  closesStream = false,
): EventToAppend => ({
  stream,
  expectedVersion: streamVersion(version),
  type,
  schemaVersion: 1,
  data,
  closesStream,
});

const layer = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`;

/** Five snapshots in a chain, one of them removed; labels that no ASCII-only reader survives. */
export function goldenAppends(): readonly GoldenAppend[] {
  const appends: GoldenAppend[] = [
    { sync: true, events: [event('daemon', 0, 'DaemonStarted', { release: 'stratalog 0.1.0' })] },
  ];
  for (let id = 1; id <= 5; id++) {
    const stream = `snapshot-${id}`;
    const labels = { 'containerd.io/snapshot.ref': layer(id), 'org.example/名前': 'größer "so"\n' };
    const parent = id === 1 ? '' : layer(id - 1);
    const preparing = { id, kind: 'active', key: `k8s.io/${id}/extract`, parent, labels };
    const committed = {
      name: layer(id),
      size: 4096 * id,
      inodes: id,
      labels,
      remote: id % 2 === 0,
    };
    appends.push(
      { sync: false, events: [event(stream, 0, 'SnapshotPreparing', preparing)] },
      { sync: true, events: [event(stream, 1, 'SnapshotPrepared', {})] },
      { sync: true, events: [event(stream, 2, 'SnapshotCommitted', committed)] },
    );
  }
  appends.push({
    sync: true,
    events: [
      event('snapshot-5', 3, 'SnapshotRemoving', { caller: { pid: 4242, uid: 0 } }),
      event('daemon', 1, 'DirectoriesCollected', { names: [] }),
    ],
  });
  appends.push({ sync: true, events: [event('snapshot-5', 4, 'SnapshotRemoved', {}, true)] });
  appends.push({
    sync: true,
    events: [event('daemon', 2, 'DaemonStopped', { signal: 'SIGTERM' })],
  });
  return appends;
}
