/**
 * Resolves `KEY|ID|DIGEST` on a command line to a snapshot. All commands about one snapshot use it.
 */
import { assert } from '../../base/assert.js';
import { UsageError } from '../../base/errors.js';
import { formatTime, type Position, type SnapshotId } from '../../base/units.js';
import type { Archive, PastState } from '../../inspect/archive/archive.js';
import {
  bestFit,
  fitOf,
  isLongEnough,
  namespaceIn,
  PREFIX_MIN,
  namesIn,
} from '../../inspect/events/event-names.js';
import {
  candidatesIn,
  chosenFrom,
  isNamedAfter,
  type Candidate,
} from '../../inspect/archive/subject-choice.js';
import { nameIn, numberIn, subjectsOf, type Subject } from '../../inspect/archive/subject.js';
import { LogDamaged } from '../../log/errors.js';
import { EventNotUnderstood } from '../../machines/events/streams.js';
import type { LogRecord } from '../../log/types.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { quoted } from './moment.js';
import { printNotice, visible } from '../terminal/print.js';

/** Limits the candidates listed in an error. */
const LISTED_MAX = 20;
/** Limits the length of a text repeated in a suggested command: a key may have 64 KiB. */
const TYPED_MAX = 200;

/** The log has no match for the text. This is neither a usage error nor damage. */
export class NotInLog extends Error {
  override readonly name = 'NotInLog';
}

export interface SubjectQuery {
  readonly text: string;
  /** Only snapshots whose key is in this containerd namespace. */
  readonly namespace?: string | undefined;
}

export interface MomentOptions {
  readonly text: string;
  readonly at: Position;
  /** Loads the snapshots at `at`. Not called when an id is enough. */
  readonly past: () => Promise<PastState>;
  /** Do not match snapshots removed before `at`. Snapshots created later never match. */
  readonly mustExist?: true;
}

/** A snapshot that matches the text. It has no records if its name is only in a checkpoint. */
interface Match extends Candidate {
  readonly records?: Subject['records'];
}

const matchOf = ({ id, records }: Subject): Match & Subject => ({
  id,
  records,
  names: records.flatMap(namesIn),
});

/** The snapshot that matches now. @throws NotInLog; UsageError if the text is ambiguous */
export async function resolveSubject(archive: Archive, query: SubjectQuery): Promise<Subject> {
  const subjects = (await matchingSubjects(archive, query)).map(matchOf);
  const [subject, ...others] = subjects;
  if (subject !== undefined && others.length === 0) return subject;
  return pickOne(query.text, subjects, await forestNow(archive));
}

/** The snapshot that matched at a moment. @throws NotInLog; UsageError if the text is ambiguous */
export async function resolveSnapshot(archive: Archive, query: MomentOptions): Promise<SnapshotId> {
  const { text, at, mustExist } = query;
  const number = numberIn(text);
  if (number?.isFirst === true && mustExist !== true) {
    const [first] = await archive.historyOf(number.id);
    if (first !== undefined) {
      // If its first events are retired, it is older than the kept log.
      if (first.streamVersion > 0 || first.position < at) return number.id;
      throw createdLater(query, number.id, first);
    }
  }
  const { forest } = await query.past();
  if (number?.isFirst === true && forest.has(number.id)) return number.id;
  const logged = (await subjectsOf(archive, text)).map(matchOf);
  const retired = await retiredMatches(archive, { text, logged, forest });
  const matches = closestMatches(text, [...logged, ...retired]);
  if (matches.length === 0) {
    if (number !== null && forest.has(number.id)) return number.id;
    throw await noSuchSnapshot(archive, text);
  }
  const created = matches.filter(({ id, records: [first] = [] }: Match) => {
    return forest.has(id) || (first !== undefined && first.position < at);
  });
  const [later] = logged;
  if (created.length === 0 && later !== undefined) {
    throw createdLater(query, later.id, later.records[0]);
  }
  const existing = created.filter(({ id }) => forest.has(id));
  if (mustExist === true && existing.length === 0) throw removedEarlier(query, created);
  return pickOne(text, created, forest, mustExist === true ? existing : created).id;
}

function createdLater({ text, at }: MomentOptions, id: SnapshotId, first?: LogRecord): NotInLog {
  const when =
    first === undefined ? 'was created later' : `was prepared at position ${first.position}`;
  return new NotInLog(
    `no snapshot ${quoted(text)} exists at position ${at}; snapshot ${id} ${when}`,
  );
}

function removedEarlier({ text, at }: MomentOptions, matches: readonly Match[]): NotInLog {
  const [match] = matches;
  if (match !== undefined && match.id === numberIn(text)?.id) {
    const removal = removalIn(match);
    const state =
      removal === null
        ? `does not exist at position ${at}`
        : `was removed at position ${removal.position}`;
    return new NotInLog(`snapshot ${match.id} ${state}; run \`stratalog history ${match.id}\``);
  }
  const ids = matches.slice(-LISTED_MAX).map(({ id }) => id);
  const list = `${matches.length > ids.length ? '…, ' : ''}${ids.join(', ')}`;
  return new NotInLog(
    `no snapshot ${quoted(text)} exists at position ${at}; removed earlier: ${list}; ${historyHint(text)}`,
  );
}

const removalIn = ({ records = [] }: Match): LogRecord | null =>
  records.find(({ type }) => type === 'SnapshotRemoved') ?? null;

function historyHint(text: string): string {
  return `run \`stratalog history --all ${shellWord(text)}\` to see each`;
}

/** Quoted for a shell; an ellipsis if it cannot be typed. */
function shellWord(text: string): string {
  if (text.length > TYPED_MAX || visible(text) !== text) return '…';
  if (/^[\w./:@+][\w./:@+-]*$/.test(text)) return text;
  return `${text.startsWith('-') ? '-- ' : ''}'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Matches whose naming events are retired, so that only a checkpoint has their names. */
async function retiredMatches(
  archive: Archive,
  { text, logged, forest }: { text: string; logged: readonly Match[]; forest: Forest },
): Promise<readonly Match[]> {
  if ((await archive.bounds()).first === 0) return [];
  const known = new Set(logged.map(({ id }) => id));
  return candidatesIn(forest, text).filter(({ id }) => !known.has(id));
}

/** Exact matches exclude prefix matches. */
function closestMatches(text: string, matches: readonly Match[]): readonly Match[] {
  const fit = fitOf(text);
  const exact = matches.filter(({ names }) => bestFit(names, fit) === 'whole');
  return exact.length > 0 ? exact : matches;
}

/** At least one subject, oldest first. @throws NotInLog */
export async function matchingSubjects(
  archive: Archive,
  { text, namespace }: SubjectQuery,
): Promise<readonly Subject[]> {
  const all = await subjectsOf(archive, text);
  const subjects = all.filter((subject) => isInNamespace(subject, namespace));
  if (subjects.length > 0) return subjects;
  if (all.length === 0) throw await noSuchSnapshot(archive, text);
  throw new NotInLog(
    `no snapshot ${quoted(text)} in namespace ${quoted(namespace ?? '')}; omit -n to see ${all.length} in other namespaces`,
  );
}

function isInNamespace(subject: Subject, namespace: string | undefined): boolean {
  return namespace === undefined || namespaceIn(nameIn(subject.records) ?? '') === namespace;
}

/** `alsoSearched`: what was searched in addition, as the end of the list in the message. */
export async function noSuchSnapshot(
  archive: Archive,
  text: string,
  alsoSearched = '',
): Promise<NotInLog> {
  const { first } = await archive.bounds();
  const retired = first > 0 ? `; events before position ${first} are retired` : '';
  const mayBePrefix = numberIn(text) === null && !isLongEnough(text);
  const tooShort = mayBePrefix ? `; a prefix needs at least ${PREFIX_MIN} characters` : '';
  return new NotInLog(
    `no snapshot in the log has the id, key, name or digest ${quoted(text)}${alsoSearched}` +
      `${retired}${tooShort}; run \`stratalog log\` to list the events`,
  );
}

/** Null if the log is damaged or was written by a newer release: current names are then unknown. */
async function forestNow(archive: Archive): Promise<Forest | null> {
  try {
    return (await archive.stateAt((await archive.bounds()).next)).forest;
  } catch (thrown) {
    if (thrown instanceof LogDamaged || thrown instanceof EventNotUnderstood) return null;
    throw thrown;
  }
}

/**
 * Picks one of the candidates, and reports on stderr if the text matches others too.
 *
 * @throws UsageError
 */
function pickOne<One extends Match>(
  text: string,
  matches: readonly One[],
  forest: Forest | null,
  candidates: readonly One[] = matches,
): One {
  const choice = chosenFrom(candidates, text, forest);
  assert(choice.kind !== 'none', 'at least one candidate');
  const closest = new Set(choice.kind === 'one' ? [choice.id] : choice.ids);
  const chosen = candidates.filter(({ id }) => closest.has(id));
  const [one, ...others] = chosen;
  if (one === undefined || others.length > 0) {
    throw ambiguous(text, chosen, matches.length - chosen.length, forest);
  }
  const unrelated = matches.filter((other) => other === one || !isNamedAfter(other, one, text));
  if (unrelated.length > 1) {
    printNotice(
      `${quoted(text)} matches ${unrelated.length} snapshots; using ${one.id}; ${historyHint(text)}`,
    );
  }
  return one;
}

/** `lessClose`: the number of further, less close matches. */
function ambiguous(
  text: string,
  matches: readonly Match[],
  lessClose: number,
  forest: Forest | null,
): UsageError {
  const more = matches.length - LISTED_MAX;
  return new UsageError(
    [
      `${quoted(text)} matches ${matches.length} snapshots; give the id of one:`,
      ...matches.slice(0, LISTED_MAX).map((match) => `  ${candidateLine(match, forest)}`),
      ...(more > 0 ? [`  and ${more} more`] : []),
      ...(lessClose > 0 ? [`${lessClose} more match less closely; ${historyHint(text)}`] : []),
    ].join('\n'),
  );
}

/** The state in the line is that in `forest`. */
function candidateLine(match: Match, forest: Forest | null): string {
  const { id, records = [] } = match;
  const state = forest?.get(id);
  const name = state?.name ?? nameIn(records) ?? '(name retired)';
  const [first] = records;
  const from = first === undefined ? '' : formatTime(first.time);
  const removal = state === undefined ? removalIn(match) : null;
  const until = removal === null ? '' : ` to ${formatTime(removal.time)}`;
  const status = state?.status ?? (removal === null ? 'state unknown' : 'removed');
  return `${String(id).padStart(6)}  ${visible(name)}  ${from}${until}  ${status}`;
}
