/**
 * Decides what a repair does to a root, as a pure function of what is left of the log. The operator
 * reviews the plan before src/repair/repair.ts executes it.
 *
 * Every repair has the same form. It keeps the records that it can follow. It moves every wrong
 * file to the quarantine, and rewrites the kept records of that file under a correct header. After
 * the last kept record it begins a new segment with a higher epoch, whose first event records the
 * repair. It deletes nothing and invents nothing.
 *
 * Longer than other files because the decisions depend on each other: a reader must see all of them
 * to check that no record is both kept and quarantined.
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

/** A segment that is rewritten from the records of a quarantined file. */
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

/** A file that is moved to the quarantine. */
export interface TakenOut {
  readonly file: string;
  readonly why: string;
}

export interface LostRange {
  readonly from: number;
  readonly to: number;
  /** The records that are still readable, in order of position. */
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
  /** Files whose only fault is their name. */
  readonly renamed: readonly { readonly from: string; readonly to: string }[];
  /** Where the log continues, and its chain head there. */
  readonly end: {
    readonly position: number;
    readonly chain: Buffer;
    readonly previousFirstPosition: number | null;
  };
  readonly identity: {
    /** Null if a new log begins, which needs a new UUID. */
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
  /** Preparations whose end may be lost: the next startup would abandon them. */
  readonly finished: readonly { readonly id: SnapshotId; readonly version: number }[];
  readonly nextId: SnapshotId;
  readonly daemonVersion: number;
  /** What this repair cannot do, each with what the operator can do. */
  readonly needsPerson: readonly string[];
}

export interface RepairRequest {
  /** Make directories without a snapshot unverified snapshots. */
  readonly fromDirectories: boolean;
}

export interface RepairInputs {
  readonly evidence: RepairEvidence;
  readonly walk: Walk | null;
  /** Records with a valid checksum that the walk does not keep. */
  readonly loose: readonly LooseRecord[];
  /** Numbers of the directories in `snapshots/`. */
  readonly directories: readonly SnapshotId[];
  readonly fileSystems: RecordedFileSystems;
}

export function planRepair(inputs: RepairInputs, request: RepairRequest): RepairPlan {
  const { evidence, walk } = inputs;
  if (walk === null) return withoutLog(inputs, request);
  const lost = lostRange(inputs, walk);
  const base = basePlan(inputs, walk, lost);
  if (walk.eventFault !== null) {
    return {
      ...base,
      kind: 'impossible',
      needsPerson: [eventFaultAdvice(walk), ...base.needsPerson],
    };
  }
  const segments = arrange(evidence, walk, base.identity.epoch);
  const history = walk.start === 0 ? null : lostHistory(evidence, walk);
  const unowned = unownedBy(walk.replay.forest, inputs.directories);
  const { forest } = walk.replay;
  const salvageable =
    lost === null ? unowned.filter((id) => forest.setAside.has(String(id))) : unowned;
  const { empty, ...changes } = segments;
  const plan: RepairPlan = {
    ...base,
    ...changes,
    history,
    lost,
    kept: request.fromDirectories || lost === null ? [] : unowned,
    salvaged: request.fromDirectories
      ? salvageable.map(salvage('the events of its snapshot were lost'))
      : [],
    finished: lost === null ? [] : unfinishedPreparations(walk),
    nextId: nextIdOf(inputs, walk.replay.forest),
  };
  if (isNoOp(plan)) return { ...plan, kind: 'sound' };
  return { ...plan, takenOut: [...plan.takenOut, ...empty] };
}

function isNoOp(plan: RepairPlan): boolean {
  const { takenOut, rewritten, renamed, lost, salvaged, identity } = plan;
  return (
    takenOut.length + rewritten.length + renamed.length + salvaged.length === 0 &&
    lost === null &&
    identity.why === null
  );
}

function basePlan(inputs: RepairInputs, walk: Walk, lost: LostRange | null): RepairPlan {
  const { evidence } = inputs;
  const last = walk.pieces.filter(hasRecords).at(-1);
  return {
    kind: 'repair',
    findings: evidence.findings,
    takenOut: [],
    rewritten: [],
    renamed: [],
    end: { ...walk.end, previousFirstPosition: last?.from.position ?? null },
    identity: identityFor(evidence, evidence.uuid),
    history: null,
    lost,
    kept: [],
    salvaged: [],
    finished: [],
    nextId: walk.replay.forest.nextId,
    daemonVersion: walk.streams.get('daemon') ?? 0,
    needsPerson: moveAdvice(evidence.identity, inputs.fileSystems),
  };
}

const hasRecords = (piece: Piece): boolean => piece.to.position > piece.from.position;

/** The highest recorded epoch plus one. */
function identityFor(evidence: RepairEvidence, uuid: string | null): RepairPlan['identity'] {
  const { identity } = evidence;
  const epochs = evidence.segments.flatMap(({ header }) =>
    header !== null && header.uuid === uuid ? [header.epoch] : [],
  );
  const recorded = identity.kind === 'sound' ? identity.identity.epoch : null;
  const highest = Math.max(recorded ?? 0, ...epochs);
  const known = highest === 0 ? null : highest;
  let why: string | null = null;
  if (identity.kind === 'missing') why = 'it is missing and is recreated from the segments';
  else if (identity.kind === 'damaged') why = `${identity.why}; it is recreated from the segments`;
  else if (highest > identity.identity.epoch) why = 'it is older than the log';
  return {
    uuid,
    replaces: null,
    created: identity.kind === 'sound' ? identity.identity.created : null,
    epochBefore: known,
    epoch: highest + 1,
    why,
  };
}

/** Decides which files to keep, rename, rewrite or quarantine. */
function arrange(
  evidence: RepairEvidence,
  walk: Walk,
  epochMax: number,
): Pick<RepairPlan, 'takenOut' | 'rewritten' | 'renamed'> & { empty: readonly TakenOut[] } {
  const takenOut: TakenOut[] = [];
  const rewritten: RewrittenSegment[] = [];
  const renamed: { from: string; to: string }[] = [];
  const pieces = walk.pieces.filter(hasRecords);
  const names = new Set(evidence.segments.map((file) => file.name));
  let epoch = 1;
  for (const [index, piece] of pieces.entries()) {
    const previous = pieces[index - 1]?.from.position ?? null;
    const { file, from, to } = piece;
    const name = segmentName(from.position);
    const isNameTaken = file.name !== name && names.has(name);
    const why = isNameTaken
      ? 'it has the name of another segment, and another file has its name'
      : rewriteReason(piece, previous, epoch, epochMax, index === 0);
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
      writtenBy: file.header?.writtenBy ?? nearestRelease(pieces, index),
    });
  }
  const used = new Set(pieces.map(({ file }) => file.name));
  const empty: TakenOut[] = [];
  for (const file of evidence.segments) {
    if (used.has(file.name)) continue;
    if (isEmptyEnd(walk, file)) empty.push({ file: file.name, why: 'it has no record yet' });
    else takenOut.push({ file: file.name, why: unusedReason(evidence, walk, file) });
  }
  takenOut.push(...unusableCheckpoints(evidence, walk));
  return { takenOut, rewritten, renamed, empty };
}

/** The newest segment without a record: valid, but a new segment takes its name. */
function isEmptyEnd(walk: Walk, file: RepairEvidence['segments'][number]): boolean {
  const last = walk.pieces.at(-1);
  return (
    last?.file === file &&
    file.header !== null &&
    file.namedPosition === file.header.firstPosition &&
    last.bytesEnd <= last.to.offset
  );
}

function nearestRelease(pieces: readonly Piece[], index: number): string {
  const near = [...pieces.slice(0, index).reverse(), ...pieces.slice(index)];
  return near.find(({ file }) => file.header !== null)?.file.header?.writtenBy ?? 'unknown release';
}

/** Null if the file can stay unchanged. */
function rewriteReason(
  { file, from, to, bytesEnd }: Piece,
  previous: number | null,
  epochMin: number,
  epochMax: number,
  isFirst: boolean,
): string | null {
  const { header } = file;
  if (header === null) return 'its header is unreadable; its records identify it';
  if (from.offset !== SEGMENT.headerBytes) {
    return `its records before position ${from.position} are damaged, and a checkpoint covers them`;
  }
  const wrong = headerFault(header, previous, epochMin, epochMax, isFirst);
  if (wrong !== null) return wrong;
  return bytesEnd > to.offset
    ? `${bytesEnd - to.offset} bytes after offset ${to.offset} do not continue the log`
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
    return 'its header names another previous segment';
  }
  return header.epoch < epochMin || header.epoch > epochMax ? 'its epoch is wrong' : null;
}

function unusedReason(
  evidence: RepairEvidence,
  walk: Walk,
  file: RepairEvidence['segments'][number],
): string {
  if (!file.isFile) return 'it is not a regular file';
  const { header } = file;
  if (header === null) return 'its header is unreadable, and no record in it continues the log';
  if (header.uuid !== evidence.uuid) return `it belongs to the log ${header.uuid}`;
  if (firstOf(file) < walk.start)
    return 'its records do not continue the log, and a checkpoint covers them';
  if (!filesOfLog(evidence).includes(file)) return 'another file has the same positions';
  if (firstOf(file) < walk.end.position) return 'its records are kept in another file';
  return firstOf(file) === walk.end.position && !walk.isLossy
    ? 'no record in it continues the log'
    : 'its records do not follow the last kept record';
}

function unusableCheckpoints(evidence: RepairEvidence, walk: Walk): readonly TakenOut[] {
  return evidence.files.checkpoints.flatMap(({ name, position: at }): readonly TakenOut[] => {
    const sound = evidence.checkpoints.find((checkpoint) => checkpoint.name === name);
    if (sound === undefined) return [{ file: name, why: 'it is unusable' }];
    if (at < walk.start) return [{ file: name, why: 'the log now begins after it' }];
    if (at > walk.end.position) return [{ file: name, why: 'the log ends before its position' }];
    const chain = walk.chains.get(at);
    if (chain?.equals(sound.chain) === true) return [];
    return [{ file: name, why: 'it was taken from other records than those in the log' }];
  });
}

function lostHistory(evidence: RepairEvidence, walk: Walk): RepairPlan['history'] {
  const firsts = filesOfLog(evidence).map(firstOf);
  const from = Math.min(walk.start, ...firsts);
  return from < walk.start ? { from, to: walk.start } : null;
}

function lostRange({ evidence, loose }: RepairInputs, walk: Walk): LostRange | null {
  const from = walk.end.position;
  const after = loose.filter(({ position }) => position >= from);
  const ends = [
    ...filesOfLog(evidence).map(firstOf),
    ...evidence.checkpoints.map(({ position }) => position),
    // A torn append may contain whole records. They are a loss only after acknowledged records.
    ...(walk.isLossy || endsBeforeNewest(evidence, walk) ? after : []).map(
      ({ position }) => position + 1,
    ),
  ];
  const to = Math.max(from, ...ends.filter(Number.isSafeInteger));
  // A checkpoint proves that the log reached its position, but not that it ended there.
  const isOpen = walk.pieces.length === 0;
  // A segment is created when everything before it is durable, so this one may have had records.
  const isUnreadable = evidence.segments.some(
    ({ header, namedPosition }) => header === null && namedPosition === from,
  );
  if (to === from && !walk.isLossy && !isOpen && !isUnreadable) return null;
  return { from, to: isOpen ? to : Math.max(to, from + 1), readable: byPositionOnce(after) };
}

/** Whether the walk ended before the newest segment: only the newest can have a torn tail. */
function endsBeforeNewest(evidence: RepairEvidence, walk: Walk): boolean {
  const newest = filesOfLog(evidence).at(-1);
  const last = walk.pieces.at(-1);
  return newest !== undefined && last !== undefined && last.file !== newest;
}

function byPositionOnce(records: readonly LooseRecord[]): readonly LooseRecord[] {
  const byPosition = new Map(records.map((record) => [record.position, record]));
  return [...byPosition.values()].sort((a, b) => a.position - b.position);
}

function unownedBy(forest: Forest, directories: readonly SnapshotId[]): readonly SnapshotId[] {
  // Includes preallocated directories: a lost event may have given one to a snapshot.
  return directories.filter((id) => !forest.has(id)).sort((a, b) => a - b);
}

/**
 * Startup abandons a preparation that has no end. The end may be among the lost events, and a
 * container may already run on the snapshot.
 */
function unfinishedPreparations({ replay }: Walk): RepairPlan['finished'] {
  return [...replay.forest.unsettled()].flatMap(({ id, status, streamVersion }) =>
    status === 'preparing' || status === 'mappingIds' ? [{ id, version: streamVersion + 1 }] : [],
  );
}

function nextIdOf({ directories, loose }: RepairInputs, forest: Forest): SnapshotId {
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

/** The log has neither its first record nor a checkpoint, so no state can be derived from it. */
function withoutLog(inputs: RepairInputs, request: RepairRequest): RepairPlan {
  const { evidence, loose, directories } = inputs;
  const everything = [...evidence.files.segments, ...evidence.files.checkpoints];
  const highest = Math.max(0, ...loose.map(({ position }) => position + 1));
  const isEmpty = everything.length === 0 && directories.length === 0;
  const hasLog = evidence.files.segments.length > 0;
  const epochs = identityFor(evidence, evidence.uuid);
  const plan: RepairPlan = {
    kind: 'impossible',
    findings: evidence.findings,
    takenOut: everything.map(({ name }) => ({
      file: name,
      why: 'no state can be derived from the log: its first record is missing, and so is a sound checkpoint',
    })),
    rewritten: [],
    renamed: [],
    end: { position: 0, chain: Buffer.alloc(32), previousFirstPosition: null },
    identity: {
      ...epochs,
      uuid: null,
      replaces: evidence.uuid,
      created: null,
      epoch: 1,
      why: 'a new log begins',
    },
    history: null,
    lost: hasLog ? { from: 0, to: Math.max(highest, 1), readable: byPositionOnce(loose) } : null,
    kept: [],
    salvaged: [...directories].sort((a, b) => a - b).map(salvage('the log was lost')),
    finished: [],
    nextId: nextIdOf(inputs, emptyForest),
    daemonVersion: 0,
    needsPerson: [],
  };
  if (isEmpty && evidence.identity.kind === 'missing') return { ...plan, kind: 'sound' };
  if (request.fromDirectories) return { ...plan, kind: 'repair' };
  // Nothing to lose: startup creates the log of a root that has only an identity.
  if (isEmpty && evidence.identity.kind === 'sound') return { ...plan, kind: 'sound' };
  return { ...plan, takenOut: [], salvaged: [], needsPerson: [lostLogAdvice(evidence)] };
}

function lostLogAdvice(evidence: RepairEvidence): string {
  const what =
    evidence.files.segments.length === 0
      ? 'the root has neither a log nor a checkpoint'
      : 'the log lacks its beginning, and no checkpoint is usable';
  return (
    `${what}, so the snapshots are unknown; restore the log or a checkpoint from a backup of the ` +
    'same time, or run stratalog repair --from-directories, which begins a new log and imports ' +
    'each directory as an unverified layer'
  );
}

function eventFaultAdvice({ eventFault }: Walk): string {
  const { position = 0, detail = '', isNewer = false } = eventFault ?? {};
  return isNewer
    ? `the event at position ${position} was written by a newer release: ${detail}; run that release`
    : `the event at position ${position} is intact but invalid: ${detail}; this is a bug or a ` +
        'manual edit: keep a copy of the log and report it; ' +
        `stratalog repair --end-at ${position} ends the log before it`;
}

function moveAdvice(identity: IdentityEvidence, found: RecordedFileSystems): readonly string[] {
  if (identity.kind !== 'sound') return [];
  const comparison = compareFileSystems(identity.identity.fileSystems, found, 'none');
  if (comparison.kind === 'accepted') return [];
  return [
    `${comparison.found}: the daemon refuses to start until accept_moved_root confirms the move`,
  ];
}

const emptyForest = new Forest();
