/**
 * What a repair will do to a root, as a value: pure, from what is left of the log. It is shown to
 * a person first, and carried out by src/repair/repair.ts.
 *
 * The shape of every repair is the same. What can be followed is kept; a file that is not right
 * as it stands is taken out whole and, where records in it are kept, written anew under the right
 * header; behind the last record that is kept a new segment of a higher epoch begins, and its
 * first event says what was done. Nothing is deleted, and nothing is invented.
 */
import type { SnapshotId } from '../../base/units.js';
import { snapshotId } from '../../base/units.js';
import { compareFileSystems, type RecordedFileSystems } from '../../log/root/file-systems.js';
import { segmentName } from '../../log/files.js';
import { SEGMENT } from '../../log/format/layout.js';
import type { SegmentHeader } from '../../log/format/segment-header.js';
import { Forest, ID_GAP_MAX } from '../../machines/snapshots/forest.js';
import { idOfStream } from '../../machines/events/streams.js';
import type { IdentityEvidence, LooseRecord, RepairEvidence } from './repair-evidence.js';
import { filesOfLog, firstOf, type Piece, type Walk } from './repair-walk.js';

/** A segment that is written anew from the records of a file that is taken out. */
export interface RewrittenSegment {
  readonly name: string;
  readonly from: string;
  readonly fromOffset: number;
  readonly toOffset: number;
  readonly firstPosition: number;
  readonly endPosition: number;
  readonly previousFirstPosition: number | null;
  readonly chain: Buffer;
  readonly epoch: number;
  readonly writtenBy: string;
}

export interface TakenOut {
  readonly file: string;
  readonly why: string;
}

export interface LostRange {
  readonly from: number;
  readonly to: number;
  /** What can still be read of it, by position. */
  readonly readable: readonly LooseRecord[];
}

/** A directory that becomes an unverified snapshot. */
export interface Salvage {
  readonly id: SnapshotId;
  readonly reason: string;
}

export interface RepairPlan {
  readonly kind: 'sound' | 'repair' | 'impossible';
  readonly findings: RepairEvidence['findings'];
  readonly takenOut: readonly TakenOut[];
  readonly rewritten: readonly RewrittenSegment[];
  /** Files that only bear a wrong name. */
  readonly renamed: readonly { readonly from: string; readonly to: string }[];
  /** Where the log goes on, and what it was there. */
  readonly end: {
    readonly position: number;
    readonly chain: Buffer;
    readonly previousFirstPosition: number | null;
  };
  readonly identity: {
    /** Null where a new one must be drawn: another log begins. */
    readonly uuid: string | null;
    readonly replaces: string | null;
    readonly created: bigint | null;
    readonly epochBefore: number | null;
    readonly epoch: number;
    readonly why: string | null;
  };
  readonly history: { readonly from: number; readonly to: number } | null;
  readonly lost: LostRange | null;
  /** Directories of lost snapshots that are set aside. */
  readonly kept: readonly SnapshotId[];
  readonly salvaged: readonly Salvage[];
  /** Preparations whose end may be among what is lost: a start would give them up. */
  readonly finished: readonly { readonly id: SnapshotId; readonly version: number }[];
  readonly nextId: SnapshotId;
  readonly daemonVersion: number;
  /** What this repair cannot do, each with what a person can. */
  readonly needsPerson: readonly string[];
}

export interface RepairRequest {
  /** Directories without a snapshot become unverified snapshots. */
  readonly fromDirectories: boolean;
}

export interface RepairWorld {
  readonly look: RepairEvidence;
  readonly walk: Walk | null;
  /** Whole records that the walk does not keep. */
  readonly loose: readonly LooseRecord[];
  /** Numbers of the directories in `snapshots/`. */
  readonly directories: readonly SnapshotId[];
  readonly fileSystems: RecordedFileSystems;
}

export function planRepair(world: RepairWorld, query: RepairRequest): RepairPlan {
  const { look, walk } = world;
  if (walk === null) return withoutLog(world, query);
  const lost = lostRange(world, walk);
  const base = basics(world, walk, lost);
  if (walk.eventFault !== null) {
    return { ...base, kind: 'impossible', needsPerson: [eventAdvice(walk), ...base.needsPerson] };
  }
  const segments = arrange(look, walk, base.identity.epoch);
  const kept = walk.start === 0 ? null : historyLost(look, walk);
  const unowned = unownedBy(walk.replay.forest, world.directories);
  const { forest } = walk.replay;
  const lostNow = lost === null ? unowned.filter((id) => forest.setAside.has(String(id))) : unowned;
  const { empty, ...changes } = segments;
  const plan: RepairPlan = {
    ...base,
    ...changes,
    history: kept,
    lost,
    kept: query.fromDirectories || lost === null ? [] : unowned,
    salvaged: query.fromDirectories
      ? lostNow.map(salvage('the events of its snapshot were lost'))
      : [],
    finished: lost === null ? [] : unfinishedPreparations(walk),
    nextId: nextIdOf(world, walk.replay.forest),
  };
  if (isNothing(plan)) return { ...plan, kind: 'sound' };
  return { ...plan, takenOut: [...plan.takenOut, ...empty] };
}

function isNothing(plan: RepairPlan): boolean {
  const { takenOut, rewritten, renamed, lost, salvaged, identity } = plan;
  return (
    takenOut.length + rewritten.length + renamed.length + salvaged.length === 0 &&
    lost === null &&
    identity.why === null
  );
}

function basics(world: RepairWorld, walk: Walk, lost: LostRange | null): RepairPlan {
  const { look } = world;
  const last = walk.pieces.filter(hasRecords).at(-1);
  return {
    kind: 'repair',
    findings: look.findings,
    takenOut: [],
    rewritten: [],
    renamed: [],
    end: { ...walk.end, previousFirstPosition: last?.from.position ?? null },
    identity: identityFor(look, look.uuid),
    history: null,
    lost,
    kept: [],
    salvaged: [],
    finished: [],
    nextId: walk.replay.forest.nextId,
    daemonVersion: walk.streams.get('daemon') ?? 0,
    needsPerson: moveAdvice(look.identity, world.fileSystems),
  };
}

const hasRecords = (piece: Piece): boolean => piece.to.position > piece.from.position;

/** The highest epoch that is told of anywhere, and one more. */
function identityFor(look: RepairEvidence, uuid: string | null): RepairPlan['identity'] {
  const { identity } = look;
  const epochs = look.segments.flatMap(({ header }) =>
    header !== null && header.uuid === uuid ? [header.epoch] : [],
  );
  const told = identity.kind === 'sound' ? identity.identity.epoch : null;
  const highest = Math.max(told ?? 0, ...epochs);
  const known = highest === 0 ? null : highest;
  let why: string | null = null;
  if (identity.kind === 'missing') why = 'it is missing, and is written anew from the segments';
  else if (identity.kind === 'damaged')
    why = `${identity.why}; it is written anew from the segments`;
  else if (highest > identity.identity.epoch) why = 'it is older than the log beside it';
  return {
    uuid,
    replaces: null,
    created: identity.kind === 'sound' ? identity.identity.created : null,
    epochBefore: known,
    epoch: highest + 1,
    why,
  };
}

/** Which files stay as they are, and which are taken out and perhaps written anew. */
function arrange(
  look: RepairEvidence,
  walk: Walk,
  epochMax: number,
): Pick<RepairPlan, 'takenOut' | 'rewritten' | 'renamed'> & { empty: readonly TakenOut[] } {
  const takenOut: TakenOut[] = [];
  const rewritten: RewrittenSegment[] = [];
  const renamed: { from: string; to: string }[] = [];
  const pieces = walk.pieces.filter(hasRecords);
  const names = new Set(look.segments.map((file) => file.name));
  let epoch = 1;
  for (const [index, piece] of pieces.entries()) {
    const previous = pieces[index - 1]?.from.position ?? null;
    const { file, from, to } = piece;
    const name = segmentName(from.position);
    const isTaken = file.name !== name && names.has(name);
    const why = isTaken
      ? 'it has another segment’s name, and another file has its own'
      : whyNotAsItStands(piece, previous, epoch, epochMax, index === 0);
    epoch = Math.max(epoch, file.header?.epoch ?? epoch);
    if (why === null) {
      if (file.name !== name) renamed.push({ from: file.name, to: name });
      continue;
    }
    takenOut.push({ file: file.name, why });
    rewritten.push({
      ...{ name, from: file.name, fromOffset: from.offset, toOffset: to.offset },
      ...{ firstPosition: from.position, endPosition: to.position, chain: from.chain },
      previousFirstPosition:
        previous ?? (index === 0 ? (file.header?.previousFirstPosition ?? null) : null),
      epoch,
      writtenBy: file.header?.writtenBy ?? releaseNear(pieces, index),
    });
  }
  const used = new Set(pieces.map(({ file }) => file.name));
  const empty: TakenOut[] = [];
  for (const file of look.segments) {
    if (used.has(file.name)) continue;
    if (isEmptyEnd(walk, file))
      empty.push({ file: file.name, why: 'no record was written to it yet' });
    else takenOut.push({ file: file.name, why: whyNotUsed(look, walk, file) });
  }
  takenOut.push(...uselessCheckpoints(look, walk));
  return { takenOut, rewritten, renamed, empty };
}

/** The newest segment before its first record: right as it is, until another one takes its place. */
function isEmptyEnd(walk: Walk, file: RepairEvidence['segments'][number]): boolean {
  const last = walk.pieces.at(-1);
  return (
    last?.file === file &&
    file.header !== null &&
    file.namedPosition === file.header.firstPosition &&
    last.bytesEnd <= last.to.offset
  );
}

function releaseNear(pieces: readonly Piece[], index: number): string {
  const near = [...pieces.slice(0, index).reverse(), ...pieces.slice(index)];
  return near.find(({ file }) => file.header !== null)?.file.header?.writtenBy ?? 'unknown release';
}

/** Null when a file is right as it stands. */
function whyNotAsItStands(
  { file, from, to, bytesEnd }: Piece,
  previous: number | null,
  epochMin: number,
  epochMax: number,
  isFirst: boolean,
): string | null {
  const { header } = file;
  if (header === null) return 'its header cannot be read; its records prove which it was';
  if (from.offset !== SEGMENT.headerBytes) {
    return `its records before position ${from.position} are damaged, and a checkpoint covers them`;
  }
  const wrong = headerFault(header, previous, epochMin, epochMax, isFirst);
  if (wrong !== null) return wrong;
  return bytesEnd > to.offset
    ? `${bytesEnd - to.offset} bytes behind offset ${to.offset} cannot be followed`
    : null;
}

function headerFault(
  header: SegmentHeader,
  previous: number | null,
  epochMin: number,
  epochMax: number,
  isFirst: boolean,
): string | null {
  if (!isFirst && header.previousFirstPosition !== previous) {
    return 'its header names another segment before it than stands there now';
  }
  return header.epoch < epochMin || header.epoch > epochMax ? 'its epoch is wrong' : null;
}

function whyNotUsed(
  look: RepairEvidence,
  walk: Walk,
  file: RepairEvidence['segments'][number],
): string {
  if (!file.isFile) return 'it is no regular file';
  const { header } = file;
  if (header === null) return 'its header cannot be read, and no record in it can be followed';
  if (header.uuid !== look.uuid) return `it belongs to the log ${header.uuid}`;
  if (firstOf(file) < walk.start)
    return 'its records cannot be followed, and a checkpoint covers them';
  if (!filesOfLog(look).includes(file)) return 'another file holds the same positions';
  if (firstOf(file) < walk.end.position) return 'what it holds is kept elsewhere';
  return firstOf(file) === walk.end.position && !walk.isLossy
    ? 'no record in it can be followed'
    : 'what it holds cannot follow the last record that is kept';
}

function uselessCheckpoints(look: RepairEvidence, walk: Walk): readonly TakenOut[] {
  return look.files.checkpoints.flatMap(({ name, position: at }): readonly TakenOut[] => {
    const sound = look.checkpoints.find((taken) => taken.name === name);
    if (sound === undefined) return [{ file: name, why: 'it cannot be used' }];
    if (at < walk.start) return [{ file: name, why: 'the log begins behind it now' }];
    if (at > walk.end.position) return [{ file: name, why: 'the log does not reach its position' }];
    const chain = walk.chains.get(at);
    if (chain?.equals(sound.chain) === true) return [];
    return [{ file: name, why: 'it was taken of other records than the log holds' }];
  });
}

function historyLost(look: RepairEvidence, walk: Walk): RepairPlan['history'] {
  const firsts = filesOfLog(look).map(firstOf);
  const from = Math.min(walk.start, ...firsts);
  return from < walk.start ? { from, to: walk.start } : null;
}

function lostRange({ look, loose }: RepairWorld, walk: Walk): LostRange | null {
  const from = walk.end.position;
  const behind = loose.filter(({ position }) => position >= from);
  const ahead = [
    ...filesOfLog(look).map(firstOf),
    ...look.checkpoints.map(({ position }) => position),
    // What is torn off may be whole in parts: only behind something acknowledged is it a loss.
    ...(walk.isLossy || isBehindASegment(look, walk) ? behind : []).map(
      ({ position }) => position + 1,
    ),
  ];
  const to = Math.max(from, ...ahead.filter(Number.isSafeInteger));
  // A checkpoint alone tells that the log went so far, and not whether it went on.
  const isOpen = walk.pieces.length === 0;
  // A file got its number when what stands before it was durable: something was begun there.
  const isUnreadable = look.segments.some(
    ({ header, namedPosition }) => header === null && namedPosition === from,
  );
  if (to === from && !walk.isLossy && !isOpen && !isUnreadable) return null;
  return { from, to: isOpen ? to : Math.max(to, from + 1), readable: oneEach(behind) };
}

/** Whether the walk ended before the newest file of the log: then nothing there is merely torn. */
function isBehindASegment(look: RepairEvidence, walk: Walk): boolean {
  const newest = filesOfLog(look).at(-1);
  const last = walk.pieces.at(-1);
  return newest !== undefined && last !== undefined && last.file !== newest;
}

function oneEach(records: readonly LooseRecord[]): readonly LooseRecord[] {
  const byPosition = new Map(records.map((record) => [record.position, record]));
  return [...byPosition.values()].sort((a, b) => a.position - b.position);
}

function unownedBy(forest: Forest, directories: readonly SnapshotId[]): readonly SnapshotId[] {
  // DirectoryPool too: a lost event may have given one to a snapshot.
  return directories.filter((id) => !forest.has(id)).sort((a, b) => a - b);
}

/**
 * A start gives up a preparation without an end, and forgets its snapshot. Its end may be among
 * the lost events, and then a container runs on it.
 */
function unfinishedPreparations({ replay }: Walk): RepairPlan['finished'] {
  return [...replay.forest.unsettled()].flatMap(({ id, status, streamVersion }) =>
    status === 'preparing' || status === 'mappingIds' ? [{ id, version: streamVersion + 1 }] : [],
  );
}

function nextIdOf({ directories, loose }: RepairWorld, forest: Forest): SnapshotId {
  const seen = loose.flatMap(({ record }) =>
    record === null ? [] : (idOfStream(record.stream) ?? []),
  );
  const end = forest.nextId + ID_GAP_MAX;
  const taken = [...directories, ...seen].filter((id) => id < end).map((id) => id + 1);
  return snapshotId(Math.max(forest.nextId, ...taken));
}

const salvage =
  (reason: string) =>
  (id: SnapshotId): Salvage => ({ id, reason });

/** Neither a first record nor a checkpoint: no state can be known from the log. */
function withoutLog(world: RepairWorld, query: RepairRequest): RepairPlan {
  const { look, loose, directories } = world;
  const everything = [...look.files.segments, ...look.files.checkpoints];
  const highest = Math.max(0, ...loose.map(({ position }) => position + 1));
  const isEmpty = everything.length === 0 && directories.length === 0;
  const hasLog = look.files.segments.length > 0;
  const epochs = identityFor(look, look.uuid);
  const plan: RepairPlan = {
    kind: 'impossible',
    findings: look.findings,
    takenOut: everything.map(({ name }) => ({
      file: name,
      why: 'no state can be known from it: it has neither the first record nor a sound checkpoint',
    })),
    rewritten: [],
    renamed: [],
    end: { position: 0, chain: Buffer.alloc(32), previousFirstPosition: null },
    identity: {
      ...epochs,
      uuid: null,
      replaces: look.uuid,
      created: null,
      epoch: 1,
      why: 'a new log begins',
    },
    history: null,
    lost: hasLog ? { from: 0, to: Math.max(highest, 1), readable: oneEach(loose) } : null,
    kept: [],
    salvaged: [...directories].sort((a, b) => a - b).map(salvage('the log was lost')),
    finished: [],
    nextId: nextIdOf(world, emptyForest),
    daemonVersion: 0,
    needsPerson: [],
  };
  if (isEmpty && look.identity.kind === 'missing') return { ...plan, kind: 'sound' };
  if (query.fromDirectories) return { ...plan, kind: 'repair' };
  // Nothing to lose: an identity without a log and without snapshots begins anew with a start.
  if (isEmpty && look.identity.kind === 'sound') return { ...plan, kind: 'sound' };
  return { ...plan, takenOut: [], salvaged: [], needsPerson: [lostLogAdvice(look)] };
}

function lostLogAdvice(look: RepairEvidence): string {
  const what =
    look.files.segments.length === 0
      ? 'there is no log, and no checkpoint'
      : 'the log lacks its beginning, and no checkpoint is usable';
  return (
    `${what}: which snapshots there were cannot be known. Bring the log, or a checkpoint, back ` +
    'from a backup of the same moment; or run stratalog repair --from-directories, which begins a new ' +
    'log and takes each directory in as an unverified layer'
  );
}

function eventAdvice({ eventFault }: Walk): string {
  const { position = 0, detail = '', isNewer = false } = eventFault ?? {};
  return isNewer
    ? `the event at position ${position} is of a newer release: ${detail}. Run that release`
    : `the bytes of the event at position ${position} are good, and it cannot be understood: ${detail}. ` +
        'That is a fault of a release, or somebody wrote it: keep a copy and report it. ' +
        `stratalog repair --end-at ${position} ends the log before it`;
}

function moveAdvice(look: IdentityEvidence, found: RecordedFileSystems): readonly string[] {
  if (look.kind !== 'sound') return [];
  const verdict = compareFileSystems(look.identity.fileSystems, found, 'none');
  if (verdict.kind === 'accepted') return [];
  return [
    `${verdict.found}: a start refuses it until accept_moved_root says that the move is meant`,
  ];
}

const emptyForest = new Forest();
