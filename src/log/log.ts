/**
 * Opens a log for writing and puts its parts together. In the folders beside this file:
 *
 *   format        the bytes on disk (docs/log-format.md); record-step is the one
 *                 step that all readers take
 *   root          whose log it is, who may write, and the file systems it is on
 *   checkpoint    a faster start: written, read, and which one a replay begins with
 *   read          from steps to pages, heads and scans; how a log ends; replay to its end
 *   write         prepared files, group commit, and cutting a torn tail
 *   index         one stream, one position, one time, without reading the rest
 *   verify        the whole log checked, full segments on threads
 *   housekeeping  indexes, retention, and when such work runs
 */
import { isDeepStrictEqual } from 'node:util';
import type { Observable } from 'rxjs';
import type { Clock, Disk, DiskLock } from '../base/ports.js';
import { position, type Position, type UnixNanos } from '../base/units.js';
import { publishCheckpoint, writeCheckpointAside } from './checkpoint/checkpoint.js';
import type { IgnoredCheckpoint } from './checkpoint/newest-checkpoint.js';
import { cutTail } from './write/cut-tail.js';
import { listLog, logDirectory, removeIfThere, withFile } from './files.js';
import { SEGMENT, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN } from './format/layout.js';
import { fileSystemsOf, type FileSystemChange } from './root/file-systems.js';
import {
  examineRoot,
  newIdentity,
  refuseContradiction,
  writeIdentity,
  type ExaminedRoot,
  type StoredIdentity,
} from './root/identity.js';
import type { LockHolder } from './root/lock.js';
import { IndexKeeper } from './housekeeping/index-keeper.js';
import { chainBefore } from './reader.js';
import type { IndexedTexts } from './index/text-filter.js';
import { replayLog, type LogEnd, type ReplayCallbacks } from './read/replay-to-end.js';
import { begunTimes, dropOldCheckpoints, retireSegments } from './housekeeping/retention.js';
import { lockRoot } from './root/root-lock.js';
import { encodeHeader } from './format/segment-header.js';
import { reopen, SegmentSupply, type NewHeader } from './write/segment-rotation.js';
import type {
  Appended,
  CheckpointToWrite,
  CutTail,
  EventLog,
  EventToAppend,
  LogIdentity,
  LogRecord,
  RetiredAge,
  SyncGroup,
} from './types.js';
import { LogWriter, type WriterStart } from './write/writer.js';

export interface OpenLogOptions extends ReplayCallbacks {
  /** The root directory, absolute. Its parent must exist. */
  readonly root: string;
  readonly disk: Disk;
  readonly clock: Clock;
  /** A random UUID in lower case; drawn only for a new root. */
  readonly uuid: () => string;
  /** The release that writes, at most 40 bytes, for example `stratalog 0.1.0`. */
  readonly writtenBy: string;
  /** 16 MiB by default. */
  readonly segmentBytes?: number;
  /** Refuses a root without an identity: its disk may not be mounted yet. */
  readonly expectExisting?: boolean;
  /** Accepts, and records, that the root is on another file system than before. */
  readonly acceptMovedRoot?: boolean;
  /**
   * What in the root contradicts the log, or null. Asked after the replay, where a file system has
   * nothing but a device number and that has changed; without it, such a root is refused.
   */
  readonly contradictionInRoot?: () => Promise<string | null>;
  /** The holder that a second writer is shown; this process by default. */
  readonly holder?: LockHolder;
  /** The root's lock if the caller holds it (`lockRoot`); released as if it were taken here. */
  readonly lock?: DiskLock;
  /**
   * Older checkpoints than the newest two are kept for questions about the past, one for so many
   * events; 0, the default, keeps none.
   */
  readonly historyCheckpointEveryEvents?: number;
  /** Writes an index for each sealed segment, in the background. Off by default. */
  readonly writesIndexes?: boolean;
  /** For which an index can be queried; none by default. */
  readonly indexedTexts?: IndexedTexts;
  /** A problem that does not stop the log: an ignored checkpoint, no space to prepare. */
  onWarning(message: string, cause?: unknown): void;
}

/** What the open found and did. The owner appends an event for a cut tail. */
export interface RecoveryReport {
  readonly isNew: boolean;
  /** What was cut; null when the end was clean. */
  readonly tornTail: CutTail | null;
  /** Position of the checkpoint that was used. */
  readonly checkpoint: Position | null;
  readonly ignoredCheckpoints: readonly IgnoredCheckpoint[];
  readonly recordsReplayed: number;
  /** How the file systems of the root differ from those at the last start. */
  readonly fileSystems: readonly FileSystemChange[];
}

export interface OpenedLog {
  readonly log: EventLog;
  readonly recovery: RecoveryReport;
  /**
   * Records in `identity.json` what the root is on now. To be called when the events that tell of
   * the changes are durable: until then, each open finds and reports them again.
   */
  readonly recordFileSystems: () => Promise<void>;
}

/**
 * Opens a root for writing: lock, identity, replay through the callbacks, and only when all of
 * that went well the torn tail is cut and the log made ready for appends.
 *
 * Fails  RootRefused, RootLocked, LogDamaged, LogTooNew, HostFault, or whatever a callback throws;
 *        an existing log is then as it was
 */
export async function openLog(options: OpenLogOptions): Promise<OpenedLog> {
  const { disk, root } = options;
  const segmentBytes = options.segmentBytes ?? SEGMENT_BYTES_DEFAULT;
  if (!Number.isSafeInteger(segmentBytes) || segmentBytes < SEGMENT_BYTES_MIN) {
    throw new RangeError(`a segment has at least ${SEGMENT_BYTES_MIN} bytes: ${segmentBytes}`);
  }
  const rules = {
    expectExisting: options.expectExisting ?? false,
    acceptedMove: options.acceptMovedRoot === true ? ('any' as const) : ('none' as const),
  };
  const { clock } = options;
  const lock =
    options.lock ?? (await lockRoot({ disk, clock, root, rules, holder: holderOf(options) }));
  try {
    const known = await examineRoot(disk, root, rules);
    const examined = known ?? (await beginIdentity(options));
    const end = await replayLog(disk, root, examined.identity, options);
    await refuseContradiction(root, examined.changes, options.contradictionInRoot);
    return await makeReady(options, segmentBytes, lock, examined, end, known === null);
  } catch (thrown) {
    await lock.release();
    throw thrown;
  }
}

const holderOf = (options: OpenLogOptions): LockHolder =>
  options.holder ?? { pid: process.pid, host: '', command: process.title };

async function beginIdentity(options: OpenLogOptions): Promise<ExaminedRoot> {
  const { disk, root, clock } = options;
  const fileSystems = await fileSystemsOf(disk, root);
  const identity = newIdentity(options.uuid(), clock.now(), fileSystems, options.writtenBy);
  await writeIdentity(disk, root, identity);
  return { identity, changes: [], fileSystems };
}

/** Makes all changes to files: the whole log was found good. */
async function makeReady(
  options: OpenLogOptions,
  segmentBytes: number,
  lock: DiskLock,
  { identity, changes, fileSystems }: ExaminedRoot,
  end: LogEnd,
  isNew: boolean,
): Promise<OpenedLog> {
  const { disk, root, clock } = options;
  for (const { name, reason } of end.ignored) {
    options.onWarning(`checkpoint ${name} was ignored: ${reason}`);
  }
  let current = identity;
  let tornTail: CutTail | null = null;
  if (end.torn) {
    const result = await cutTail(disk, clock, root, current, end.torn);
    current = result.identity;
    tornTail = result.cut;
  }
  await removeLeftovers(disk, root);
  const supply = new SegmentSupply(disk, root, segmentBytes, (message, cause) => {
    options.onWarning(message, cause);
  });
  const start = await beginWriting(options, segmentBytes, current, end, supply);
  const writer = new LogWriter(start, clock, supply);
  const log = new OpenLog(options, current, lock, writer);
  const recovery = {
    isNew,
    tornTail,
    checkpoint: end.checkpoint,
    ignoredCheckpoints: end.ignored,
    recordsReplayed: end.recordsReplayed,
    fileSystems: changes,
  };
  const recorded = current;
  const recordFileSystems = async (): Promise<void> => {
    if (isDeepStrictEqual(recorded.fileSystems, fileSystems)) return;
    await writeIdentity(disk, root, { ...recorded, fileSystems, writtenBy: options.writtenBy });
  };
  return { log, recovery, recordFileSystems };
}

async function removeLeftovers(disk: Disk, root: string): Promise<void> {
  const { leftovers, segments, indexes } = await listLog(disk, root);
  // Of a segment that is gone, or that is written to again.
  const sealed = new Set(segments.slice(0, -1).map((segment) => segment.position));
  const useless = indexes.filter(({ position: of }) => !sealed.has(of)).map(({ name }) => name);
  const names = [...leftovers, ...useless];
  for (const name of names) await removeIfThere(disk, `${logDirectory(root)}/${name}`);
  if (names.length > 0) await disk.syncDirectory(logDirectory(root));
}

async function beginWriting(
  options: OpenLogOptions,
  segmentBytes: number,
  identity: StoredIdentity,
  end: LogEnd,
  supply: SegmentSupply,
): Promise<WriterStart> {
  const { disk, clock, writtenBy } = options;
  const { place, last } = end;
  const header: NewHeader = {
    uuid: identity.uuid,
    epoch: identity.epoch,
    writtenBy,
    firstPosition: place.position,
    previousFirstPosition: last?.segment.header.firstPosition ?? null,
    created: clock.now(),
    chain: place.chain,
  };
  const start = {
    uuid: identity.uuid,
    epoch: identity.epoch,
    writtenBy,
    segmentBytes,
    previousFirstPosition: header.previousFirstPosition,
    position: place.position,
    chain: place.chain,
    streams: end.streams,
  };
  if (!last) {
    // At once: a root with snapshot directories and no segment would be refused.
    const open = await supply.begin(header);
    return { ...start, segment: { open, used: SEGMENT.headerBytes, bytes: segmentBytes } };
  }
  const { name, path, header: lastHeader } = last.segment;
  const isEmpty = lastHeader.firstPosition === place.position;
  if (isEmpty) {
    const again = { ...header, previousFirstPosition: lastHeader.previousFirstPosition };
    await withFile(disk, path, 'write', (file) => file.writeDurably(encodeHeader(again), 0));
  }
  const open = await reopen(disk, path, {
    name,
    firstPosition: lastHeader.firstPosition,
    groupStart: last.groupStart,
    used: place.offset,
    bytes: segmentBytes,
  });
  // A segment names one release only, so that a reader can name the release that wrote what it cannot read.
  const isOurs = isEmpty || lastHeader.writtenBy === writtenBy;
  const bytes = isOurs ? segmentBytes : 0;
  return { ...start, segment: { open, used: place.offset, bytes } };
}

class OpenLog implements EventLog {
  readonly identity: LogIdentity;
  readonly durableBatches: Observable<readonly LogRecord[]>;
  readonly failures: Observable<Error>;
  readonly syncGroups: Observable<SyncGroup>;
  readonly sealed: Observable<void>;
  /** Checkpoints and retirement look at the same files: one at a time. */
  #housekeeping: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | null = null;
  readonly #indexes: IndexKeeper | null;

  constructor(
    private readonly options: OpenLogOptions,
    identity: StoredIdentity,
    private readonly lock: DiskLock,
    private readonly writer: LogWriter,
  ) {
    const { uuid, created, formatVersion, epoch } = identity;
    this.identity = { uuid, created, formatVersion, epoch };
    this.durableBatches = writer.durableBatches.asObservable();
    this.failures = writer.failures.asObservable();
    this.syncGroups = writer.syncGroups.asObservable();
    this.sealed = writer.sealed.asObservable();
    const { disk, root, clock, indexedTexts: texts = null } = options;
    this.#indexes =
      options.writesIndexes === true
        ? new IndexKeeper({
            ...{ disk, root, clock, texts, sealed: this.sealed },
            inTurn: (work) => this.#oneAtATime(work),
          })
        : null;
  }

  get nextPosition(): Position {
    return this.writer.nextPosition;
  }

  get durablePosition(): Position {
    return this.writer.durablePosition;
  }

  append(events: readonly EventToAppend[], how: { readonly sync: boolean }): Appended {
    return this.writer.append(events, how);
  }

  flush(): Promise<void> {
    return this.writer.flush();
  }

  roomToGrow(): Promise<void> | null {
    return this.writer.roomToGrow();
  }

  writeCheckpoint({ position: at, lines }: CheckpointToWrite): Promise<void> {
    const { durablePosition, durableChain } = this.writer;
    if (at > durablePosition) {
      const found = `position ${at} is not durable yet, ${durablePosition} is`;
      return Promise.reject(new RangeError(found));
    }
    // The usual case: the owner's projection is as new as the log, and nothing must be read.
    const chain = at === durablePosition ? Buffer.from(durableChain) : null;
    return this.#oneAtATime(() => this.#writeCheckpoint(at, chain, lines));
  }

  async #writeCheckpoint(
    at: Position,
    knownChain: Buffer | null,
    lines: Iterable<string>,
  ): Promise<void> {
    const { disk, root } = this.options;
    const streamsPosition = this.nextPosition;
    const streams = new Map(this.writer.streams);
    // The versions include records that are still queued: a checkpoint may only tell of records
    // that cannot be lost.
    await this.writer.flush();
    const chain = knownChain ?? (await chainBefore(disk, root, at));
    const envelope = { position: at, chain, streamsPosition, streams };
    const aside = await writeCheckpointAside(disk, root, this.identity.uuid, envelope, lines);
    await publishCheckpoint(disk, root, aside);
    await dropOldCheckpoints(disk, root, at, this.options.historyCheckpointEveryEvents ?? 0);
  }

  async checkpoints(): Promise<readonly Position[]> {
    const { checkpoints } = await listLog(this.options.disk, this.options.root);
    return checkpoints.map((checkpoint) => position(checkpoint.position));
  }

  retire(before: Position, age?: RetiredAge): Promise<readonly string[]> {
    const { disk, root } = this.options;
    return this.#oneAtATime(() =>
      retireSegments(disk, root, this.identity.uuid, before, age ?? null),
    );
  }

  begunTimes(below: Position): AsyncGenerator<UnixNanos, void, undefined> {
    return begunTimes(this.options.disk, this.options.root, below);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#indexes?.stop();
    await this.#housekeeping.catch(() => undefined);
    try {
      await this.writer.close();
    } finally {
      await this.lock.release();
    }
  }

  #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#housekeeping.catch(() => undefined).then(work);
    this.#housekeeping = done.catch(() => undefined);
    return done;
  }
}
