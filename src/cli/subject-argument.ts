/** `KEY|ID|DIGEST` on a command line: the snapshot that is meant, or why it cannot be told. */
import { UsageError } from '../base/errors.js';
import { formatTime } from '../base/units.js';
import type { Archive } from '../inspect/archive.js';
import { namespaceIn } from '../inspect/bears-text.js';
import { nameIn, subjectsOf, type Subject } from '../inspect/subject.js';
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

/** @throws NotInLog; UsageError when the word fits several */
export async function oneSubject(archive: Archive, wish: SubjectWish): Promise<Subject> {
  const [subject, ...others] = await someSubjects(archive, wish);
  if (subject !== undefined && others.length === 0) return subject;
  const candidates = subject === undefined ? [] : [subject, ...others];
  const more = candidates.length - LISTED_MAX;
  throw new UsageError(
    [
      `${quoted(wish.text)} fits ${candidates.length} snapshots; name one by its number:`,
      ...candidates.slice(0, LISTED_MAX).map((candidate) => `  ${candidateLine(candidate)}`),
      ...(more > 0 ? [`  and ${more} more`] : []),
    ].join('\n'),
  );
}

/** At least one, oldest first. @throws NotInLog */
export async function someSubjects(
  archive: Archive,
  { text, namespace }: SubjectWish,
): Promise<readonly Subject[]> {
  const all = await subjectsOf(archive, text);
  const subjects = all.filter((subject) => isInNamespace(subject, namespace));
  if (subjects.length > 0) return subjects;
  const { first } = await archive.bounds();
  const retired = first > 0 ? `; events before position ${first} are retired` : '';
  throw new NotInLog(
    all.length > 0
      ? `no snapshot called ${quoted(text)} is of the namespace ${quoted(namespace ?? '')}; leave out -n to see ${all.length}`
      : `no snapshot in the log has the number, or ever bore the key, name or digest, ${quoted(text)}${retired}`,
  );
}

function isInNamespace(subject: Subject, namespace: string | undefined): boolean {
  return namespace === undefined || namespaceIn(nameIn(subject.records) ?? '') === namespace;
}

function candidateLine({ id, records }: Subject): string {
  const [first, last] = [records[0], records.at(-1)];
  const from = first === undefined ? '' : formatTime(first.time);
  const isGone = last?.type === 'SnapshotRemoved';
  const until = last !== undefined && isGone ? `to ${formatTime(last.time)}` : 'still there';
  return `${String(id).padStart(6)}  ${visible(nameIn(records) ?? '(name retired)')}  ${from} ${until}`;
}
