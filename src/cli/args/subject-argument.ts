/**
 * `KEY|ID|DIGEST` on a command line: the snapshot that is meant, or why it cannot be told. The one
 * way of all commands that are about one snapshot.
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
  textsOf,
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
import { visible } from '../terminal/print.js';

/** Candidates that are listed when a word fits many. */
const LISTED_MAX = 20;
/** Of a word that is said again in an advice: a key may have 64 KiB. */
const TYPED_MAX = 200;

/** The log has nothing that the word could mean: no slip in the usage, and no damage. */
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
  /** The snapshots as they were at the moment that is asked about; a number needs none. */
  readonly past: () => Promise<PastState>;
  /** One that was gone by then is no answer. One that was not yet there never is. */
  readonly mustBeThere?: true;
}

/** One that a word fits; without records where only a checkpoint knows its name. */
interface Bearer extends Candidate {
  readonly records?: Subject['records'];
}

const bearerOf = ({ id, records }: Subject): Bearer & Subject => ({
  id,
  records,
  names: records.flatMap(textsOf),
});

/** Who is meant by a word now. @throws NotInLog; UsageError when nobody can tell */
export async function oneSubject(archive: Archive, query: SubjectQuery): Promise<Subject> {
  const subjects = (await someSubjects(archive, query)).map(bearerOf);
  const [subject, ...others] = subjects;
  if (subject !== undefined && others.length === 0) return subject;
  return picked(query.text, subjects, await forestNow(archive));
}

/** Who was meant by a word at a moment. @throws NotInLog; UsageError when nobody can tell */
export async function snapshotMeant(archive: Archive, query: MomentOptions): Promise<SnapshotId> {
  const { text, at, mustBeThere } = query;
  const number = numberIn(text);
  if (number?.isFirst === true && mustBeThere !== true) {
    const [birth] = await archive.historyOf(number.id);
    if (birth !== undefined) {
      // Where its first events are retired, it was there before what is kept.
      if (birth.streamVersion > 0 || birth.position < at) return number.id;
      throw notYet(query, number.id, birth);
    }
  }
  const { forest } = await query.past();
  if (number?.isFirst === true && forest.has(number.id)) return number.id;
  const told = (await subjectsOf(archive, text)).map(bearerOf);
  const untold = await untoldBearers(archive, { text, told, forest });
  const bearers = nearestFit(text, [...told, ...untold]);
  if (bearers.length === 0) {
    if (number !== null && forest.has(number.id)) return number.id;
    throw await noSuchSnapshot(archive, text);
  }
  const born = bearers.filter(({ id, records: [birth] = [] }: Bearer) => {
    return forest.has(id) || (birth !== undefined && birth.position < at);
  });
  const [first] = told;
  if (born.length === 0 && first !== undefined) throw notYet(query, first.id, first.records[0]);
  const there = born.filter(({ id }) => forest.has(id));
  if (mustBeThere === true && there.length === 0) throw gone(query, born);
  return picked(text, born, forest, mustBeThere === true ? there : born).id;
}

function notYet({ text, at }: MomentOptions, id: SnapshotId, birth?: LogRecord): NotInLog {
  const since = birth === undefined ? 'came later' : `was prepared at position ${birth.position}`;
  return new NotInLog(`there was no snapshot ${quoted(text)} at position ${at}; ${id} ${since}`);
}

function gone({ text, at }: MomentOptions, bearers: readonly Bearer[]): NotInLog {
  const [bearer] = bearers;
  if (bearer !== undefined && bearer.id === numberIn(text)?.id) {
    const removal = removalIn(bearer);
    const since =
      removal === null
        ? `is not there at position ${at}`
        : `was removed at position ${removal.position}`;
    return new NotInLog(
      `snapshot ${bearer.id} ${since}; \`stratalog history ${bearer.id}\` tells its life`,
    );
  }
  const ids = bearers.slice(-LISTED_MAX).map(({ id }) => id);
  const numbers = `${bearers.length > ids.length ? '…, ' : ''}${ids.join(', ')}`;
  return new NotInLog(
    `${quoted(text)} is not there at position ${at}; it was number ${numbers}. ${tellsOfEach(text)}`,
  );
}

const removalIn = ({ records = [] }: Bearer): LogRecord | null =>
  records.find(({ type }) => type === 'SnapshotRemoved') ?? null;

function tellsOfEach(text: string): string {
  return `\`stratalog history --all ${shellWord(text)}\` tells of each`;
}

/** As it can be typed; what cannot is left for the reader to fill in. */
function shellWord(text: string): string {
  if (text.length > TYPED_MAX || visible(text) !== text) return '…';
  if (/^[\w./:@+][\w./:@+-]*$/.test(text)) return text;
  return `${text.startsWith('-') ? '-- ' : ''}'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Those whose naming is retired: only a checkpoint knows them any more. */
async function untoldBearers(
  archive: Archive,
  { text, told, forest }: { text: string; told: readonly Bearer[]; forest: Forest },
): Promise<readonly Bearer[]> {
  if ((await archive.bounds()).first === 0) return [];
  const known = new Set(told.map(({ id }) => id));
  return candidatesIn(forest, text).filter(({ id }) => !known.has(id));
}

/** Where some have it as a whole name, those whose names only begin with it are not meant. */
function nearestFit(text: string, bearers: readonly Bearer[]): readonly Bearer[] {
  const fit = fitOf(text);
  const whole = bearers.filter(({ names }) => bestFit(names, fit) === 'whole');
  return whole.length > 0 ? whole : bearers;
}

/** At least one, oldest first. @throws NotInLog */
export async function someSubjects(
  archive: Archive,
  { text, namespace }: SubjectQuery,
): Promise<readonly Subject[]> {
  const all = await subjectsOf(archive, text);
  const subjects = all.filter((subject) => isInNamespace(subject, namespace));
  if (subjects.length > 0) return subjects;
  if (all.length === 0) throw await noSuchSnapshot(archive, text);
  throw new NotInLog(
    `no snapshot called ${quoted(text)} is of the namespace ${quoted(namespace ?? '')}; leave out -n to see ${all.length}`,
  );
}

function isInNamespace(subject: Subject, namespace: string | undefined): boolean {
  return namespace === undefined || namespaceIn(nameIn(subject.records) ?? '') === namespace;
}

/** `norElse`: what else was looked for. */
export async function noSuchSnapshot(
  archive: Archive,
  text: string,
  norElse = '',
): Promise<NotInLog> {
  const { first } = await archive.bounds();
  const retired = first > 0 ? `; events before position ${first} are retired` : '';
  const mayBeBeginning = numberIn(text) === null && !isLongEnough(text);
  const tooShort = mayBeBeginning
    ? `. The beginning of a name will do from ${PREFIX_MIN} characters on`
    : '';
  return new NotInLog(
    `no snapshot in the log has the number, or ever bore the key, name or digest, ` +
      `${quoted(text)}${norElse}${retired}${tooShort}. \`stratalog log\` tells which there were`,
  );
}

/** Null behind damage, or where a newer release wrote: then nobody can tell who bears what. */
async function forestNow(archive: Archive): Promise<Forest | null> {
  try {
    return (await archive.stateAt((await archive.bounds()).next)).forest;
  } catch (thrown) {
    if (thrown instanceof LogDamaged || thrown instanceof EventNotUnderstood) return null;
    throw thrown;
  }
}

/**
 * Of the candidates; says on stderr that the word fits others too.
 *
 * @throws UsageError
 */
function picked<One extends Bearer>(
  text: string,
  fitting: readonly One[],
  forest: Forest | null,
  candidates: readonly One[] = fitting,
): One {
  const choice = chosenFrom(candidates, text, forest);
  assert(choice.kind !== 'none', 'nobody was there to choose from');
  const nearest = new Set(choice.kind === 'one' ? [choice.id] : choice.ids);
  const chosen = candidates.filter(({ id }) => nearest.has(id));
  const [one, ...others] = chosen;
  if (one === undefined || others.length > 0) {
    throw refusal(text, chosen, fitting.length - chosen.length, forest);
  }
  const own = fitting.filter((other) => other === one || !isNamedAfter(other, one, text));
  if (own.length > 1) {
    process.stderr.write(
      `stratalog: ${quoted(text)} fits ${own.length} snapshots; this is ${one.id}. ` +
        `${tellsOfEach(text)}\n`,
    );
  }
  return one;
}

/** `farther`: how many more the word fits, and less nearly. */
function refusal(
  text: string,
  bearers: readonly Bearer[],
  farther: number,
  forest: Forest | null,
): UsageError {
  const more = bearers.length - LISTED_MAX;
  return new UsageError(
    [
      `${quoted(text)} fits ${bearers.length} snapshots; name one by its number:`,
      ...bearers.slice(0, LISTED_MAX).map((bearer) => `  ${candidateLine(bearer, forest)}`),
      ...(more > 0 ? [`  and ${more} more`] : []),
      ...(farther > 0 ? [`It fits ${farther} more, less nearly. ${tellsOfEach(text)}`] : []),
    ].join('\n'),
  );
}

/** As it was at the moment. */
function candidateLine(bearer: Bearer, forest: Forest | null): string {
  const { id, records = [] } = bearer;
  const state = forest?.get(id);
  const name = state?.name ?? nameIn(records) ?? '(name retired)';
  const [first] = records;
  const from = first === undefined ? '' : formatTime(first.time);
  const removal = state === undefined ? removalIn(bearer) : null;
  const until = removal === null ? '' : ` to ${formatTime(removal.time)}`;
  const status = state?.status ?? (removal === null ? 'state unknown' : 'removed');
  return `${String(id).padStart(6)}  ${visible(name)}  ${from}${until}  ${status}`;
}
