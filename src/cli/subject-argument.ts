/**
 * `KEY|ID|DIGEST` on a command line: the snapshot that is meant, or why it cannot be told. The one
 * way of all commands that are about one snapshot.
 */
import { UsageError } from '../base/errors.js';
import { formatTime, parseSnapshotId, type SnapshotId } from '../base/units.js';
import type { Archive, PastState } from '../inspect/archive.js';
import { namespaceIn } from '../inspect/bears-text.js';
import { bearersIn, chosenFrom } from '../inspect/subject-choice.js';
import { nameIn, subjectsOf, type Subject } from '../inspect/subject.js';
import { LogDamaged } from '../log/errors.js';
import type { LogRecord } from '../log/types.js';
import type { Forest } from '../machines/forest.js';
import { quoted } from './moment.js';
import { visible } from './print.js';

/** Candidates that are listed when a word fits many. */
const LISTED_MAX = 20;

/** The log has nothing that the word could mean: no slip in the usage, and no damage. */
export class NotInLog extends Error {
  override readonly name = 'NotInLog';
}

export interface SubjectWish {
  readonly text: string;
  /** Only snapshots whose key is in this containerd namespace. */
  readonly namespace?: string | undefined;
}

export interface MomentWish {
  readonly text: string;
  /** The snapshots as they were at the moment that is asked about; a number needs none. */
  readonly past: () => Promise<PastState>;
  /** One that was gone by then, or was not yet there, is no answer. */
  readonly mustBeThere?: true;
}

/** Who is meant by a word now. @throws NotInLog; UsageError when nobody can tell */
export async function oneSubject(archive: Archive, wish: SubjectWish): Promise<Subject> {
  const subjects = await someSubjects(archive, wish);
  const [subject, ...others] = subjects;
  if (subject !== undefined && others.length === 0) return subject;
  const id = picked(wish.text, subjects, await forestNow(archive));
  return subjects.find((one) => one.id === id) ?? { id, records: [] };
}

/** Who was meant by a word at a moment. @throws NotInLog; UsageError when nobody can tell */
export async function snapshotMeant(archive: Archive, wish: MomentWish): Promise<SnapshotId> {
  const { text, mustBeThere } = wish;
  const number = parseSnapshotId(text);
  if (number !== null && mustBeThere !== true && (await archive.historyOf(number)).length > 0) {
    return number;
  }
  const { forest, position } = await wish.past();
  if (number !== null && forest.has(number)) return number;
  const told = await subjectsOf(archive, text);
  const subjects = [...told, ...(await untoldBearers(archive, { text, told, forest }))];
  const [first] = subjects;
  if (first === undefined) throw await unknown(archive, text);
  const born = subjects.filter(({ id, records: [birth] }) => {
    return forest.has(id) || (birth !== undefined && birth.position < position);
  });
  if (born.length === 0) {
    throw new NotInLog(
      `there was no snapshot ${quoted(text)} at position ${position}; ${first.id} came later`,
    );
  }
  const there = born.filter(({ id }) => forest.has(id));
  if (mustBeThere === true && there.length === 0) {
    throw new NotInLog(
      `${quoted(text)} is not there at position ${position}; it was number ` +
        `${numbersOf(born)}. \`stratalog history --all\` tells of each`,
    );
  }
  return picked(text, born, forest, mustBeThere === true ? there : born);
}

/** The newest ones. */
function numbersOf(subjects: readonly Subject[]): string {
  const ids = subjects.slice(-LISTED_MAX).map(({ id }) => id);
  return `${subjects.length > ids.length ? '…, ' : ''}${ids.join(', ')}`;
}

/** Those whose naming is retired: only a checkpoint knows them any more. */
async function untoldBearers(
  archive: Archive,
  { text, told, forest }: { text: string; told: readonly Subject[]; forest: Forest },
): Promise<readonly Subject[]> {
  if ((await archive.bounds()).first === 0) return [];
  const known = new Set(told.map(({ id }) => id));
  const untold = bearersIn(forest, text).filter((id) => !known.has(id));
  return untold.map((id) => ({ id, records: [] }));
}

/** At least one, oldest first. @throws NotInLog */
export async function someSubjects(
  archive: Archive,
  { text, namespace }: SubjectWish,
): Promise<readonly Subject[]> {
  const all = await subjectsOf(archive, text);
  const subjects = all.filter((subject) => isInNamespace(subject, namespace));
  if (subjects.length > 0) return subjects;
  if (all.length === 0) throw await unknown(archive, text);
  throw new NotInLog(
    `no snapshot called ${quoted(text)} is of the namespace ${quoted(namespace ?? '')}; leave out -n to see ${all.length}`,
  );
}

function isInNamespace(subject: Subject, namespace: string | undefined): boolean {
  return namespace === undefined || namespaceIn(nameIn(subject.records) ?? '') === namespace;
}

async function unknown(archive: Archive, text: string): Promise<NotInLog> {
  const { first } = await archive.bounds();
  const retired = first > 0 ? `; events before position ${first} are retired` : '';
  return new NotInLog(
    `no snapshot in the log has the number, or ever bore the key, name or digest, ${quoted(text)}${retired}`,
  );
}

/** Null behind damage: then nobody can tell who bears what. */
async function forestNow(archive: Archive): Promise<Forest | null> {
  try {
    return (await archive.stateAt((await archive.bounds()).next)).forest;
  } catch (thrown) {
    if (thrown instanceof LogDamaged) return null;
    throw thrown;
  }
}

/**
 * Of the candidates; says on stderr that the word fits others too.
 *
 * @throws UsageError
 */
function picked(
  text: string,
  fitting: readonly Subject[],
  forest: Forest | null,
  candidates: readonly Subject[] = fitting,
): SnapshotId {
  const ids = candidates.map(({ id }) => id);
  const choice = chosenFrom(ids, text, forest);
  if (choice.kind !== 'one') throw refusal(text, candidates, forest);
  if (fitting.length > 1) {
    process.stderr.write(
      `stratalog: ${quoted(text)} fits ${fitting.length} snapshots; this is ${choice.id}. ` +
        '`stratalog history --all` tells of each\n',
    );
  }
  return choice.id;
}

function refusal(text: string, subjects: readonly Subject[], forest: Forest | null): UsageError {
  const lines = subjects.slice(0, LISTED_MAX).map(({ id, records }) => {
    return `  ${candidateLine(id, records, nameIn(records) ?? forest?.get(id)?.name ?? null)}`;
  });
  const more = subjects.length - LISTED_MAX;
  return new UsageError(
    [
      `${quoted(text)} fits ${subjects.length} snapshots; name one by its number:`,
      ...lines,
      ...(more > 0 ? [`  and ${more} more`] : []),
    ].join('\n'),
  );
}

function candidateLine(id: SnapshotId, records: readonly LogRecord[], name: string | null): string {
  const [first, last] = [records[0], records.at(-1)];
  const from = first === undefined ? '' : formatTime(first.time);
  const isGone = last?.type === 'SnapshotRemoved';
  const until = last !== undefined && isGone ? `to ${formatTime(last.time)}` : 'still there';
  return `${String(id).padStart(6)}  ${visible(name ?? '(name retired)')}  ${from} ${until}`;
}
