/** What a word means at a moment, where the log alone does not tell or nobody bears it any more. */
import { expect, it } from 'vitest';
import {
  position,
  snapshotId,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../../src/base/units.js';
import type { LogBounds } from '../../src/inspect/archive.js';
import { NotInLog, snapshotMeant } from '../../src/cli/subject-argument.js';
import { UsageError } from '../../src/base/errors.js';
import type { LogRecord } from '../../src/log/types.js';
import { RecordArchive } from '../support/record-archive.js';
import { prepared, preparing, removing, type TestEvent } from './rig.js';

const removed = (id: number): TestEvent => ({ stream: `snapshot-${id}`, type: 'SnapshotRemoved' });

/** Two that were called `web` and are gone, and one that stands. */
const story: readonly TestEvent[] = [
  ...[preparing(1, 'n/1/tool'), prepared(1)],
  ...[preparing(2, 'n/2/web'), prepared(2), removing(2), removed(2)],
  ...[preparing(3, 'n/3/web'), prepared(3), removing(3), removed(3)],
];
const versions = new Map<string, number>();
const records = story.map(({ stream, type, data = {} }, index): LogRecord => {
  const version = versions.get(stream) ?? 0;
  versions.set(stream, version + 1);
  return {
    ...{ position: position(index), time: unixNanos(BigInt(index)), stream, type },
    ...{ streamVersion: streamVersion(version), schemaVersion: 1, closesStream: false },
    data,
  };
});

function meant(text: string, mustBeThere?: true, archive = new RecordArchive(records)) {
  const past = () => archive.stateAt(position(records.length));
  return snapshotMeant(archive, {
    ...{ text, past },
    ...(mustBeThere === undefined ? {} : { mustBeThere }),
  });
}

it('chooses none of several that are gone, and says of one that must be there that none is', async () => {
  await expect(meant('web')).rejects.toThrow(UsageError);
  await expect(meant('web')).rejects.toThrow('"web" fits 2 snapshots; name one by its number');
  await expect(meant('web', true)).rejects.toThrow(NotInLog);
  await expect(meant('web', true)).rejects.toThrow('it was number 2, 3');
  expect(await meant('3')).toBe(3);
  await expect(meant('3', true)).rejects.toThrow('it was number 3');
});

/** The naming of the first snapshot is in a checkpoint alone. */
class Retired extends RecordArchive {
  override async bounds(): Promise<LogBounds> {
    return { ...(await super.bounds()), first: position(2) };
  }

  override async find(text: string): Promise<readonly SnapshotId[]> {
    return (await super.find(text)).filter((id) => id !== snapshotId(1));
  }
}

it('finds a snapshot whose naming is retired', async () => {
  expect(await meant('tool', undefined, new Retired(records))).toBe(1);
  await expect(meant('nobody', undefined, new Retired(records))).rejects.toThrow(
    'events before position 2 are retired',
  );
});
