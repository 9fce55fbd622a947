/** Resolution of names at a moment, with retired events, removed snapshots and ambiguous names. */
import { expect, it } from 'vitest';
import {
  position,
  snapshotId,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../../src/base/units.js';
import type { LogBounds } from '../../src/inspect/archive/archive.js';
import { NotInLog, resolveSnapshot } from '../../src/cli/args/subject-argument.js';
import { UsageError } from '../../src/base/errors.js';
import type { LogRecord } from '../../src/log/types.js';
import { RecordArchive } from '../support/record-archive.js';
import { committed, committing, prepared, preparing, removing, type TestEvent } from './rig.js';

const removed = (id: number): TestEvent => ({ stream: `snapshot-${id}`, type: 'SnapshotRemoved' });

/** Two removed snapshots with the name `web`, and an existing one. */
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

function resolved(
  text: string,
  mustExist?: true,
  { archive = new RecordArchive(records), at = position(records.length) } = {},
) {
  const past = () => archive.stateAt(at);
  return resolveSnapshot(archive, {
    ...{ text, at, past },
    ...(mustExist === undefined ? {} : { mustExist }),
  });
}

it('refuses several removed matches, or reports that none exists if one must exist', async () => {
  await expect(resolved('web')).rejects.toThrow(UsageError);
  await expect(resolved('web')).rejects.toThrow('"web" matches 2 snapshots; give the id of one');
  await expect(resolved('web', true)).rejects.toThrow(NotInLog);
  await expect(resolved('web', true)).rejects.toThrow(
    'removed earlier: 2, 3; run `stratalog history --all web` to see each',
  );
  expect(await resolved('3')).toBe(3);
  await expect(resolved('3', true)).rejects.toThrow(
    'snapshot 3 was removed at position 9; run `stratalog history 3`',
  );
});

it('refuses a snapshot created later, and one that never existed', async () => {
  const at = position(4);
  for (const mustExist of [undefined, true] as const) {
    await expect(resolved('3', mustExist, { at })).rejects.toThrow(
      'no snapshot "3" exists at position 4; snapshot 3 was prepared at position 6',
    );
    await expect(resolved('99', mustExist)).rejects.toThrow(
      /^no snapshot in the log has the id, key, name or digest "99"; run `stratalog log` to list the events$/,
    );
  }
  expect(await resolved('web', undefined, { at })).toBe(2);
});

it('lists equally close matches with their states at the moment', async () => {
  const at = position(5);
  const more = [
    ...[preparing(1, "n/1/it's"), prepared(1), removing(1), removed(1), preparing(2, "n/2/it's")],
    ...[preparing(3, "n/3/it's"), prepared(2), prepared(3), removing(2)],
  ];
  const archive = new RecordArchive(recordsOf(more));
  const lists = (text: string) => expect(resolved(text, undefined, { archive, at: position(8) }));
  await lists("it's").rejects.toThrow(
    [
      '"it\'s" matches 2 snapshots; give the id of one:',
      "       2  n/2/it's  1970-01-01T00:00:00.000000004Z  active",
      "       3  n/3/it's  1970-01-01T00:00:00.000000005Z  active",
      "1 more match less closely; run `stratalog history --all 'it'\\''s'` to see each",
    ].join('\n'),
  );
  // At position 5 the third did not exist, and the second was being prepared.
  expect(await resolved("it's", undefined, { archive, at })).toBe(2);
  await expect(resolved('web')).rejects.toThrow(
    / {7}2 {2}n\/2\/web {2}\S+2Z to \S+5Z {2}removed\n/,
  );
});

/** Only a checkpoint has the name of the first snapshot. */
class Retired extends RecordArchive {
  override async bounds(): Promise<LogBounds> {
    return { ...(await super.bounds()), first: position(2) };
  }

  override async find(text: string): Promise<readonly SnapshotId[]> {
    return (await super.find(text)).filter((id) => id !== snapshotId(1));
  }
}

it('finds a snapshot whose first events are retired', async () => {
  const archive = new Retired(records);
  expect(await resolved('tool', undefined, { archive })).toBe(1);
  await expect(resolved('absent', undefined, { archive })).rejects.toThrow(
    'events before position 2 are retired',
  );
});

const container = '123456789012ab1c4cff02c80d1c1caedbdea9a94d6d2dd3584f5ecb36ca4e1f';
const short = container.slice(0, 12);
/** A container of Docker whose id begins with digits. */
const docker: readonly TestEvent[] = [
  ...[preparing(1, `moby/1/${container}-init-key`), prepared(1)],
  ...[committing(1, `moby/2/${container}-init`), committed(1, `moby/2/${container}-init`)],
  ...[preparing(2, `moby/3/${container}`), prepared(2)],
];

it('takes a short numeric id for a container, or else for a snapshot id', async () => {
  const archive = new RecordArchive(recordsOf(docker));
  const at = position(docker.length);
  for (const mustExist of [undefined, true] as const) {
    expect(await resolved(short, mustExist, { archive, at })).toBe(2);
    expect(await resolved(container, mustExist, { archive, at })).toBe(2);
    expect(await resolved(`${container}-in`, mustExist, { archive, at })).toBe(1);
    await expect(resolved('12345678902', mustExist, { archive, at })).rejects.toThrow(NotInLog);
  }
  expect(await resolved('1', true, { archive, at })).toBe(1);
  // A snapshot may have the same number as its id.
  const numbered = [preparing(12_345_678, 'n/1/x'), prepared(12_345_678)];
  const alone = new RecordArchive(recordsOf(numbered));
  const both = new RecordArchive(recordsOf([...docker, ...numbered]));
  for (const mustExist of [undefined, true] as const) {
    expect(await resolved('12345678', mustExist, { archive: alone, at: position(2) })).toBe(
      12_345_678,
    );
    expect(await resolved('12345678', mustExist, { archive: both, at: position(8) })).toBe(2);
    expect(
      await resolved('1234567', mustExist, { archive: both, at: position(8) }).catch(nameOf),
    ).toBe('NotInLog');
  }
});

const nameOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.name : '');

it('finds a container with retired events by its short id, and reports the minimum length', async () => {
  const archive = new Retired(recordsOf([preparing(1, `moby/1/${container}`), ...story.slice(1)]));
  expect(await resolved(short, undefined, { archive })).toBe(1);
  expect(await resolved(short, true, { archive })).toBe(1);
  await expect(resolved('0b370c', undefined, { archive })).rejects.toThrow(
    '"0b370c"; events before position 2 are retired; a prefix needs at least 8 characters;',
  );
});

it('refuses a prefix of very many names, but not an exact name of many snapshots', async () => {
  const many = [...Array(1001).keys()].map((n) => preparing(n + 1, `n/${n + 1}/extract-${n}`));
  const alike = [...Array(1001).keys()].map((n) => preparing(n + 1, `n/${n + 1}/extract-`));
  const at = position(1001);
  const result = (events: readonly TestEvent[]) =>
    resolved('extract-', undefined, { archive: new RecordArchive(recordsOf(events)), at });
  await expect(result(many)).rejects.toThrow(
    /^"extract-" matches 1001 snapshots; give a longer prefix$/,
  );
  await expect(result(alike)).rejects.toThrow(
    /^"extract-" matches 1001 snapshots; give the id of one/,
  );
  await expect(result(many)).rejects.toThrow(UsageError);
});
