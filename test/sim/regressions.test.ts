/**
 * Goal: what the simulation found stays found, whatever later seeds draw. Method: each case is
 * built by hand on the smallest world that shows it.
 */
import { expect, it } from 'vitest';
import { streamVersion } from '../../src/base/units.js';
import { openLog } from '../../src/log/log.js';
import { readLog } from '../../src/log/reader.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { VirtualClock } from '../support/virtual-clock.js';

function open(disk: FaultyDisk) {
  return openLog({
    root: '/root',
    disk,
    clock: new VirtualClock(),
    uuid: () => '00000000-0000-4000-8000-000000000000',
    writtenBy: 'stratalog 0.0.0',
    segmentBytes: 4096,
    onCheckpoint: () => Promise.resolve(),
    onRecords: () => undefined,
    onWarning: () => undefined,
  });
}

it('acknowledges nothing in a segment whose name is not durable', async () => {
  const first = new FaultyDisk(['/root']);
  // Killed between the rename that names the segment and the sync of the directory.
  first.plan = (operation, path) =>
    operation === 'syncDirectory' && path === '/root/log'
      ? { kind: 'fail', code: 'EINTR' }
      : undefined;
  await expect(open(first)).rejects.toThrow('EINTR');
  const second = first.afterKill();
  expect(second.paths()).toContain('/root/log/00000000000000000000.seg');

  const { log } = await open(second);
  const event = {
    stream: 'daemon',
    expectedVersion: streamVersion(0),
    type: 'DaemonStopped',
    schemaVersion: 1,
    data: { why: 'acknowledged' },
  };
  await log.append([event], { sync: true }).durable;
  const left = second.powerCut(() => 0.99);

  const records = [];
  for await (const record of readLog({ root: '/root', disk: left })) records.push(record.data);
  expect(records).toEqual([{ why: 'acknowledged' }]);
});
