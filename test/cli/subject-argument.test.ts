/** What a word means at a moment, where the log alone does not tell or nobody bears it any more. */
import { expect, it } from 'vitest';
import {
  position,
  snapshotId,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../../src/base/units.js';
import type { LogBounds } from '../../src/inspect/archive/archive.js';
import { NotInLog, snapshotMeant } from '../../src/cli/args/subject-argument.js';
import { UsageError } from '../../src/base/errors.js';
import type { LogRecord } from '../../src/log/types.js';
import { RecordArchive } from '../support/record-archive.js';
import { committed, committing, prepared, preparing, removing, type TestEvent } from './rig.js';

const removed = (id: number): TestEvent => ({ stream: `snapshot-${id}`, type: 'SnapshotRemoved' });

/** Two that were called `web` and are gone, and one that stands. */
const story: readonly TestEvent[] = [
  ...[preparing(1, 'n/1/tool'), prepared(1)],
  ...[preparing(2, 'n/2/web'), prepared(2), removing(2), removed(2)],
  ...[preparing(3, 'n/3/web'), prepared(3), removing(3), removed(3)],
];
function recordsOf(events: readonly TestEvent[]): LogRecord[] {
  const versions = new Map<string, number>();
  return events.map(({ stream, type, data = {} }, index) => {
    const version = versions.get(stream) ?? 0;
    versions.set(stream, version + 1);
    return {
      ...{ position: position(index), time: unixNanos(BigInt(index)), stream, type },
      ...{ streamVersion: streamVersion(version), schemaVersion: 1, closesStream: false },
      data,
    };
  });
}

const records = recordsOf(story);

function meant(
  text: string,
  mustBeThere?: true,
  { archive = new RecordArchive(records), at = position(records.length) } = {},
) {
  const past = () => archive.stateAt(at);
  return snapshotMeant(archive, {
    ...{ text, at, past },
    ...(mustBeThere === undefined ? {} : { mustBeThere }),
  });
}

it('chooses none of several that are gone, and says of one that must be there that none is', async () => {
  await expect(meant('web')).rejects.toThrow(UsageError);
  await expect(meant('web')).rejects.toThrow('"web" fits 2 snapshots; name one by its number');
  await expect(meant('web', true)).rejects.toThrow(NotInLog);
  await expect(meant('web', true)).rejects.toThrow(
    'it was number 2, 3. `stratalog history --all web` tells of each',
  );
  expect(await meant('3')).toBe(3);
  await expect(meant('3', true)).rejects.toThrow(
    'snapshot 3 was removed at position 9; `stratalog history 3` tells its life',
  );
});

it('refuses one that came later, and one that never was', async () => {
  const at = position(4);
  for (const mustBeThere of [undefined, true] as const) {
    await expect(meant('3', mustBeThere, { at })).rejects.toThrow(
      'there was no snapshot "3" at position 4; 3 was prepared at position 6',
    );
    await expect(meant('99', mustBeThere)).rejects.toThrow(
      /^no snapshot in the log has the number, .*, "99"\. `stratalog log` tells which there were$/,
    );
  }
  expect(await meant('web', undefined, { at })).toBe(2);
});

it('lists those that are equally near, each as it was at the moment', async () => {
  const at = position(5);
  const more = [
    ...[preparing(1, "n/1/it's"), prepared(1), removing(1), removed(1), preparing(2, "n/2/it's")],
    ...[preparing(3, "n/3/it's"), prepared(2), prepared(3), removing(2)],
  ];
  const archive = new RecordArchive(recordsOf(more));
  const lists = (text: string) => expect(meant(text, undefined, { archive, at: position(8) }));
  await lists("it's").rejects.toThrow(
    [
      '"it\'s" fits 2 snapshots; name one by its number:',
      "       2  n/2/it's  1970-01-01T00:00:00.000000004Z  active",
      "       3  n/3/it's  1970-01-01T00:00:00.000000005Z  active",
      "It fits 1 more, less nearly. `stratalog history --all 'it'\\''s'` tells of each",
    ].join('\n'),
  );
  // At 5 the third had not come, and the second was only being made.
  expect(await meant("it's", undefined, { archive, at })).toBe(2);
  await expect(meant('web')).rejects.toThrow(/ {7}2 {2}n\/2\/web {2}\S+2Z to \S+5Z {2}removed\n/);
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
  const archive = new Retired(records);
  expect(await meant('tool', undefined, { archive })).toBe(1);
  await expect(meant('nobody', undefined, { archive })).rejects.toThrow(
    'events before position 2 are retired',
  );
});

const container = '123456789012ab1c4cff02c80d1c1caedbdea9a94d6d2dd3584f5ecb36ca4e1f';
const short = container.slice(0, 12);
/** Of a container whose id begins with digits, as Docker makes them. */
const docker: readonly TestEvent[] = [
  ...[preparing(1, `moby/1/${container}-init-key`), prepared(1)],
  ...[committing(1, `moby/2/${container}-init`), committed(1, `moby/2/${container}-init`)],
  ...[preparing(2, `moby/3/${container}`), prepared(2)],
];

it('takes a short id of digits for a container, and for a number where there is none', async () => {
  const archive = new RecordArchive(recordsOf(docker));
  const at = position(docker.length);
  for (const mustBeThere of [undefined, true] as const) {
    expect(await meant(short, mustBeThere, { archive, at })).toBe(2);
    expect(await meant(container, mustBeThere, { archive, at })).toBe(2);
    expect(await meant(`${container}-in`, mustBeThere, { archive, at })).toBe(1);
    await expect(meant('12345678902', mustBeThere, { archive, at })).rejects.toThrow(NotInLog);
  }
  expect(await meant('1', true, { archive, at })).toBe(1);
  // As far as numbers go, a snapshot may have it as its own.
  const numbered = [preparing(12_345_678, 'n/1/x'), prepared(12_345_678)];
  const alone = new RecordArchive(recordsOf(numbered));
  const both = new RecordArchive(recordsOf([...docker, ...numbered]));
  for (const mustBeThere of [undefined, true] as const) {
    expect(await meant('12345678', mustBeThere, { archive: alone, at: position(2) })).toBe(
      12_345_678,
    );
    expect(await meant('12345678', mustBeThere, { archive: both, at: position(8) })).toBe(2);
    expect(
      await meant('1234567', mustBeThere, { archive: both, at: position(8) }).catch(nameOf),
    ).toBe('NotInLog');
  }
});

const nameOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.name : '');

it('finds a container whose naming is retired by its short id, and says how much is enough', async () => {
  const archive = new Retired(recordsOf([preparing(1, `moby/1/${container}`), ...story.slice(1)]));
  expect(await meant(short, undefined, { archive })).toBe(1);
  expect(await meant(short, true, { archive })).toBe(1);
  await expect(meant('0b370c', undefined, { archive })).rejects.toThrow(
    '"0b370c"; events before position 2 are retired. The beginning of a name will do from 8 characters on.',
  );
});

it('refuses the beginning of more names than anybody can mean, and of none that is a whole name', async () => {
  const many = [...Array(1001).keys()].map((n) => preparing(n + 1, `n/${n + 1}/extract-${n}`));
  const alike = [...Array(1001).keys()].map((n) => preparing(n + 1, `n/${n + 1}/extract-`));
  const at = position(1001);
  const asked = (events: readonly TestEvent[]) =>
    meant('extract-', undefined, { archive: new RecordArchive(recordsOf(events)), at });
  await expect(asked(many)).rejects.toThrow(
    /^"extract-" matches 1001 snapshots; give a longer prefix$/,
  );
  await expect(asked(alike)).rejects.toThrow(/^"extract-" fits 1001 snapshots; name one by its/);
  await expect(asked(many)).rejects.toThrow(UsageError);
});
