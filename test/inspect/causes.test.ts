/** Which event is behind each kind of finding, and that it is said in words where there is none. */
import { expect, it } from 'vitest';
import {
  position,
  snapshotId,
  streamVersion,
  unixNanos,
  type SnapshotId,
} from '../../src/base/units.js';
import type { ArchiveRange, LogBounds } from '../../src/inspect/archive/archive.js';
import {
  CAUSES_MAX,
  causesOf,
  type Cause,
  type CauseSubject,
} from '../../src/inspect/startup/causes.js';
import type { Finding, FindingKind } from '../../src/inspect/startup/findings.js';
import { LogDamaged } from '../../src/log/errors.js';
import type { LogRecord } from '../../src/log/types.js';
import { RecordArchive } from '../support/record-archive.js';

const at = '/root/snapshots';

/** Events by stream and type; of a body only what is looked at. */
const story: readonly (readonly [string, string, LogRecord['data']?])[] = [
  ['daemon', 'DirectoriesPreallocated', { ids: [1, 2, 3, 4, 5, 6, 7, 8] }], // 0
  ['snapshot-1', 'SnapshotPreparing'],
  ['snapshot-1', 'SnapshotPrepared'],
  ['snapshot-1', 'LabelsUpdated'],
  ['snapshot-1', 'SnapshotCommitting'],
  ['snapshot-1', 'SnapshotCommitted'], // 5
  ['snapshot-1', 'LabelsUpdated'],
  ['snapshot-2', 'SnapshotPreparing'],
  ['snapshot-2', 'RemoteMountStarted'],
  ['snapshot-2', 'RemoteMounted'],
  ['snapshot-2', 'SnapshotCommitted'], // 10
  ['snapshot-2', 'LayerUnavailable'],
  ['snapshot-2', 'LabelsUpdated'],
  ['snapshot-3', 'SnapshotPreparing'],
  ['snapshot-3', 'SnapshotPrepared'],
  ['snapshot-3', 'SnapshotRemoving'], // 15
  ['snapshot-3', 'SnapshotCollecting'],
  ['daemon', 'PreallocatedReleased', { ids: [7] }],
  ['daemon', 'OrphanFound', { name: 'notes', path: `${at}/notes` }],
  ['daemon', 'DirectoryRecreated', { id: 4, path: `${at}/4/fs` }],
  ['snapshot-3', 'SnapshotRemoved'], // 20
  ['daemon', 'DaemonStopped', { why: 'SIGTERM' }],
  ['snapshot-6', 'SnapshotPreparing'],
  ['snapshot-6', 'IdMappingStarted'],
  ['snapshot-6', 'SnapshotPrepared'], // 24
];

const records: readonly LogRecord[] = story.map(([stream, type, data = {}], index) => ({
  ...{ position: position(index), time: unixNanos(BigInt(index)), stream, type, data },
  ...{ streamVersion: streamVersion(index), schemaVersion: 1, closesStream: false },
}));

const of = (id: number): { id: SnapshotId; name: string } => ({ id: snapshotId(id), name: 'x' });
const orphan = (name: string): Finding => ({
  ...{ kind: 'OrphanDirectory', name, path: `${at}/${name}` },
});
const foreign = (path: string): Finding => ({
  ...{ kind: 'ForeignMount', mountpoint: `${at}/${path}`, type: 'tmpfs' },
});
const elsewhere = (...ids: number[]): Finding => ({
  ...{ kind: 'MountElsewhere', mountpoint: '/run/x', ids: ids.map(snapshotId) },
});

async function causesIn(
  archive: RecordArchive,
  ...findings: Finding[]
): Promise<(number | string)[]> {
  const matters = findings.map((finding): CauseSubject => ({ of: 'snapshots', finding }));
  return (await causesOf(archive, matters, at)).map(inShort);
}

const inShort = (cause: Cause): number | string =>
  cause.kind === 'event' ? cause.record.position : `${cause.kind}: ${cause.why}`;

const unfinished: Finding = {
  ...{ kind: 'UnfinishedRemoval', isInferred: false, failed: null, ...of(3) },
};
const older = (...names: readonly string[]): Finding => ({
  kind: 'LogOlderThanDirectories',
  directories: names.map((name) => ({ name, because: 'unowned', evidence: 'fs is not empty' })),
  nextId: snapshotId(9),
});
const kept = (name: string): Finding => ({
  ...{ kind: 'KeptDirectories', because: 'repair', directories: [{ name, evidence: 'e' }] },
});
const unchecked = (name: string): Finding => ({
  ...{ kind: 'UncheckedDirectory', name, operation: 'readdir', path: `${at}/${name}`, code: 'EIO' },
});

/** For each kind, findings and the position of the event behind each, or why there is none. */
const cases: Readonly<Record<FindingKind, readonly (readonly [Finding, number | string])[]>> = {
  AbandonedPreparation: [[{ kind: 'AbandonedPreparation', ...of(2) }, 12]],
  UnfinishedCommit: [[{ kind: 'UnfinishedCommit', ...of(1) }, 4]],
  UnfinishedRemoval: [[unfinished, 16]],
  AwaitingCleanup: [[{ kind: 'AwaitingCleanup', ...of(3) }, 15]],
  MissingDirectory: [
    [{ kind: 'MissingDirectory', ...of(1), shownAs: 'committed', path: `${at}/1/fs` }, 5],
    // It was made a second time.
    [{ kind: 'MissingDirectory', ...of(4), shownAs: 'active', path: `${at}/4/fs` }, 19],
  ],
  HiddenDirectory: [
    [{ kind: 'HiddenDirectory', ...of(1), shownAs: 'committed', path: `${at}/1` }, 5],
  ],
  MissingMount: [[{ kind: 'MissingMount', ...of(2), mountpoint: `${at}/2/fs` }, 9]],
  MissingIdmappedMount: [
    [{ kind: 'MissingIdmappedMount', mountpoint: '/root/idmapped/m/2', ids: [snapshotId(6)] }, 23],
  ],
  UnneededIdmappedMount: [
    // The layer that it shows.
    [{ kind: 'UnneededIdmappedMount', path: '/root/idmapped/m/2' }, 9],
    [
      { kind: 'UnneededIdmappedMount', path: '/root/idmapped/m/snapshots' },
      'none: the log has no such event',
    ],
  ],
  UnavailableLayer: [[{ kind: 'UnavailableLayer', ...of(2), reason: 'gone' }, 11]],
  OrphanDirectory: [
    [orphan('3'), 20],
    [orphan('5'), 0],
    [orphan('7'), 17],
    [orphan('notes'), 18],
    [orphan('99'), 'none: no event mentions it'],
    [orphan('lost+found'), 'none: no event mentions it'],
  ],
  PreallocatedDirectories: [[{ kind: 'PreallocatedDirectories', ids: [7, 8].map(snapshotId) }, 0]],
  LogOlderThanDirectories: [
    [older('99', '7'), 17],
    [older('99'), 'none: the log has no such event'],
  ],
  ForeignEntry: [
    [{ kind: 'ForeignEntry', name: 'notes', path: `${at}/notes`, evidence: 'e' }, 18],
    [
      { kind: 'ForeignEntry', name: 'mine', path: `${at}/mine`, evidence: 'e' },
      'none: no event mentions it',
    ],
  ],
  UncheckedDirectory: [[unchecked('1'), 6]],
  KeptDirectories: [[kept('9'), 'none: the log has no such event']],
  ReleasedDirectories: [
    [{ kind: 'ReleasedDirectories', names: ['9'] }, 'none: the log has no such event'],
  ],
  ForeignMount: [
    // Its removal should have ended it; without one, it is what was mounted.
    [foreign('3/fs'), 20],
    [foreign('2/fs'), 9],
    [foreign('2/fs/etc'), 'none: no event records the mount'],
    [foreign('1/fs'), 'none: no event records the mount'],
  ],
  MountElsewhere: [
    [elsewhere(1), 5],
    [elsewhere(1, 3), 16],
  ],
  HiddenMounts: [
    [{ kind: 'HiddenMounts', pid: 7, ids: [snapshotId(2)] }, 9],
    [{ kind: 'HiddenMounts', pid: 7, ids: [] }, 'none: no layer is mounted'],
  ],
};

it.each(Object.entries(cases))('knows the event behind %s', async (_kind, told) => {
  const findings = told.map(([finding]) => finding);
  const expected = told.map(([, cause]) => cause);
  expect(await causesIn(new RecordArchive(records), ...findings)).toEqual(expected);
});

it('knows what a repair has set aside', async () => {
  const data = {
    ...{ release: '0.1.0', findings: [], omitted: 0, steps: [], quarantine: 'q', files: [] },
    ...{ history: null, lost: null, epochBefore: 1, epoch: 2, replaces: null },
    ...{ kept: [9], nextId: 10 },
  };
  const last = records.length;
  const repaired: LogRecord = {
    ...{ position: position(last), time: unixNanos(99n), stream: 'daemon', type: 'LogRepaired' },
    ...{ streamVersion: streamVersion(last), schemaVersion: 1, data, closesStream: false },
  };
  const archive = new RecordArchive([...records, repaired]);
  const causes = await causesIn(archive, kept('9'), orphan('9'));
  expect(causes).toEqual([last, last]);
});

it('takes the record before a place in the log, and none for the root as a whole', async () => {
  const matters: CauseSubject[] = [
    { of: 'log', position: position(6) },
    { of: 'log', position: position(0) },
    { of: 'log', position: position(999) },
    { of: 'root' },
  ];
  const causes = await causesOf(new RecordArchive(records), matters, at);
  expect(causes.map(inShort)).toEqual([
    5,
    'none: no event is before it',
    'none: the event before it is retired or lost',
    'none: it is about the root as a whole',
  ]);
});

class Retired extends RecordArchive {
  override async bounds(): Promise<LogBounds> {
    return { ...(await super.bounds()), first: position(7) };
  }
}

/** One stream has a record at position 14 that cannot be read. */
class Damaged extends RecordArchive {
  readonly #stream: string;

  constructor(stream: string) {
    super(records);
    this.#stream = stream;
  }

  override async historiesOf(
    ids: readonly SnapshotId[],
  ): Promise<ReadonlyMap<SnapshotId, readonly LogRecord[]>> {
    for (const id of ids) this.#mustBeSound(`snapshot-${id}`);
    return super.historiesOf(ids);
  }

  override async *read(range: ArchiveRange): AsyncGenerator<readonly LogRecord[], void, undefined> {
    this.#mustBeSound(range.stream ?? '');
    yield* super.read(range);
  }

  #mustBeSound(stream: string): void {
    if (stream !== this.#stream) return;
    const place = { segment: '0.seg', offset: 9, position: position(14) };
    throw new LogDamaged(place, 'bytes that are no record');
  }
}

const cannotBeRead =
  'unknown: its events cannot be read: the log is damaged at position 14 (run `stratalog verify`)';

it('says that events are retired, and not that there were none', async () => {
  expect(await causesIn(new Retired(records), orphan('99'))).toEqual([
    'none: no event mentions it; events before position 7 are retired',
  ]);
});

it('says of what is behind damage that it cannot be read, and tells the rest', async () => {
  const findings: Finding[] = [
    { kind: 'UnfinishedCommit', ...of(1) },
    unfinished,
    elsewhere(1, 3),
    orphan('99'),
  ];
  expect(await causesIn(new Damaged('snapshot-3'), ...findings)).toEqual([
    ...[4, cannotBeRead, cannotBeRead, 'none: no event mentions it'],
  ]);
  expect(await causesIn(new Damaged('daemon'), ...findings)).toEqual([4, 16, 16, cannotBeRead]);
});

it('looks for so many and says so of the others', async () => {
  const orphans = [...Array(CAUSES_MAX + 1).keys()].map(() => orphan('3'));
  const causes = await causesIn(new RecordArchive(records), ...orphans);
  expect(causes.slice(-2)).toEqual([20, `unknown: not searched beyond ${CAUSES_MAX} findings`]);
});
