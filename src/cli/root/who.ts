/** `stratalog who`: whose a directory, a file, a mount or a snapshot is. Works without a daemon. */
import { lstat, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { errnoOf } from '../../base/errors.js';
import type { MountEntry } from '../../base/ports.js';
import { formatTime, type SnapshotId } from '../../base/units.js';
import { openHost, type Host } from '../../host/host.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { idsShownBy, mountOf } from '../../base/mount-layers.js';
import { snapshotsDirectory } from '../../log/files.js';
import type { Caller } from '../../machines/events/events.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import { programName } from '../../machines/client-identity.js';
import {
  answerFor,
  mappedIn,
  placeOf,
  usesOf,
  type Answer,
  type MountUse,
  type SnapshotSummary,
} from '../../inspect/snapshot/who.js';
import { withArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { EXIT } from '../exit-codes.js';
import { quoted } from '../args/moment.js';
import { humanSize, printing, visible, type Output } from '../terminal/print.js';
import { allMounts, mountTables } from './mount-tables.js';
import { placeOfRoot, requireUndamaged } from './root-scan.js';
import { rootOf } from '../args/root-option.js';
import { NotInLog, oneSubject, someSubjects } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly all?: true;
  readonly offline?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

const examples = `
Examples:
  stratalog who /var/lib/stratalog/snapshots/1384      may this directory go?
  stratalog who /var/lib/stratalog/snapshots/7/fs/etc  which layer brought this file?
  stratalog who /run/containerd/…/web/rootfs           the snapshots behind a container's root
  stratalog who 1384                                   the same by number, key, name or digest

A word that begins with / or . is a path; any other word names a snapshot: write ./ before a path.
Exits 0 with an answer, 1 when the log knows nothing of it, 3 for a directory that no snapshot owns.`;

export function whoCommand(): Command {
  return withArchiveOption(new Command('who').alias('blame'))
    .description('whose a directory, file, mount or snapshot is: key, image, caller, what uses it')
    .argument('<dir|file|mount|id|key|digest>', 'what to ask about')
    .option('--all', 'when a word fits several snapshots, tell of each')
    .option('--offline', 'a root from elsewhere: leave the mount table of this machine out')
    .option('--json', 'print one JSON object for each snapshot')
    .option('-q, --quiet', 'print only numbers')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText('after', examples)
    .action((text: string, flags: Flags) => printing(flags, (out) => run(text, flags, out)));
}

/** What the answer needs of this machine. */
interface Here {
  /** As the daemon calls it, where that is the same place. */
  readonly root: string;
  /** Null where the mount table does not speak of this root. */
  readonly mounts: readonly MountEntry[] | null;
  readonly mountsUnknown: string | null;
}

async function run(text: string, flags: Flags, out: Output): Promise<void> {
  const named = await rootOf(flags);
  const host = openHost({ root: named });
  try {
    const here = await lookHere(host, named, flags.offline === true);
    await withArchive(flags, host.disk, async (archive) => {
      const query = { text, isAll: flags.all === true, roots: [here.root, named] };
      const answers = await answersTo(archive, query, here);
      if (answers.some(({ kind }) => kind === 'orphan')) {
        // Whose it is may stand behind damage.
        if (flags.address === undefined) await requireUndamaged({ root: named, host });
        process.exitCode = EXIT.findings;
      }
      if (flags.json === true) await printJson(out, answers, here);
      else if (flags.quiet === true) await out.lines(answers.map(subjectOf));
      else await printAnswers(out, answers, here);
    });
  } finally {
    await host.close();
  }
}

async function lookHere(host: Host, named: string, isOffline: boolean): Promise<Here> {
  const { root, holder, mountsUnknown } = await placeOfRoot({ root: named, host, isOffline });
  const mounts = mountsUnknown === null ? allMounts(await mountTables(host, holder)) : null;
  return { root, mounts, mountsUnknown };
}

interface Query {
  readonly text: string;
  readonly isAll: boolean;
  /** The root, by each path that it may be called by. */
  readonly roots: readonly string[];
}

async function answersTo(archive: Archive, query: Query, here: Here): Promise<readonly Answer[]> {
  const { next } = await archive.bounds();
  const { forest } = await archive.stateAt(next);
  const found = await idsAskedFor(archive, query, { ...here, forest });
  if (!Array.isArray(found)) return [{ kind: 'orphan', name: found.named }];
  return Promise.all(found.map((id) => answerFor(archive, forest, id)));
}

/** @throws NotInLog */
async function idsAskedFor(
  archive: Archive,
  { text, isAll, roots }: Query,
  here: Here & { readonly forest: Forest },
): Promise<SnapshotId[] | { readonly named: string }> {
  if (!/^[./]/.test(text)) return idsCalled(archive, text, isAll);
  const path = resolve(text);
  const real = await realpathOrNearest(path);
  const homes = new Set([...roots, ...(await Promise.all(roots.map(realpathOrNearest)))]);
  // As it was said before as it is: a link in a layer is that layer's, wherever it leads.
  const places = [path, real].flatMap((way) => [...homes].map((home) => placeOf(way, home)));
  const place =
    places.find(({ kind }) => kind === 'numbered' || kind === 'named') ??
    places.find(({ kind }) => kind !== 'elsewhere');
  if (place?.kind === 'numbered') return [place.id];
  if (place?.kind === 'named') return { named: place.name };
  if (place?.kind === 'maps') {
    const ids = mappedIn(here.forest, place.name, here.root);
    if (ids.length > 0) return [...ids];
    throw new NotInLog(`${quoted(path)} holds mounts with mapped ids that no snapshot needs`);
  }
  if (place?.kind === 'all') {
    throw new NotInLog(`${quoted(path)} holds all snapshots; name one below it`);
  }
  if (place?.kind === 'ours') {
    throw new NotInLog(`${quoted(path)} is Stratalog's own, and no snapshot's`);
  }
  return idsInMount(text, real, here);
}

/** @throws NotInLog */
async function idsCalled(archive: Archive, text: string, isAll: boolean): Promise<SnapshotId[]> {
  try {
    const subjects = isAll
      ? await someSubjects(archive, { text })
      : [await oneSubject(archive, { text })];
    return subjects.map(({ id }) => id);
  } catch (thrown) {
    if (!(thrown instanceof NotInLog) || !text.includes('/') || !(await isThere(text))) {
      throw thrown;
    }
    throw new NotInLog(`${thrown.message}. There is such a path: write ./ before it`);
  }
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

function idsInMount(text: string, real: string, { root, mounts, mountsUnknown }: Here) {
  if (mounts === null) {
    const why = mountsUnknown ?? '';
    throw new NotInLog(`${quoted(text)} is not in ${root}, and what is mounted is unknown: ${why}`);
  }
  const mount = mountOf(real, mounts);
  const ids = mount === null ? [] : idsShownBy(mount, mounts, snapshotsDirectory(root));
  if (ids.length > 0) return [...ids];
  const around = mount === null ? '' : ` (a mount of type ${mount.fileSystemType})`;
  throw new NotInLog(
    `${quoted(text)} is not in ${root}, and the mount it is in, ` +
      `${mount?.mountpoint ?? 'none'}${around}, shows no snapshot`,
  );
}

/** The real path; of what is not there, the real path of what is, and the rest as it was said. */
async function realpathOrNearest(path: string): Promise<string> {
  const rest: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    try {
      return [await realpath(at), ...rest].join('/').replace(/\/+/g, '/');
    } catch (thrown) {
      const isAbsent = errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR';
      if (!isAbsent || at === '/') throw thrown;
      rest.unshift(at.slice(dirname(at).length).replace(/^\//, ''));
    }
  }
}

function subjectOf(answer: Answer): string {
  if (answer.kind === 'snapshot') return String(answer.life.id);
  return answer.kind === 'orphan' ? visible(answer.name) : String(answer.id);
}

function usesIn({ mounts, root }: Here, id: SnapshotId): readonly MountUse[] | null {
  return mounts === null ? null : usesOf(id, mounts, snapshotsDirectory(root));
}

async function printJson(out: Output, answers: readonly Answer[], here: Here): Promise<void> {
  const more = { root: here.root, mountsUnknownBecause: here.mountsUnknown };
  for (const answer of answers) {
    if (answer.kind !== 'snapshot') {
      await out.json('who', { ...answer, ...more });
      continue;
    }
    const { life } = answer;
    const { since, end } = life;
    await out.json('who', {
      kind: answer.kind,
      ...life,
      since: { ...since, time: formatTime(since.time) },
      end: end === null ? null : { ...end, time: formatTime(end.time) },
      mounts: usesIn(here, life.id),
      ...more,
    });
  }
}

async function printAnswers(out: Output, answers: readonly Answer[], here: Here): Promise<void> {
  const [answer, ...others] = answers;
  if (answer !== undefined && others.length === 0) {
    await out.lines(inFull(answer, here).map(visible));
    return;
  }
  const cells = answers.map((each) =>
    each.kind === 'snapshot' ? rowOf(each.life) : [visible(subjectOf(each)), each.kind],
  );
  await out.table(['ID', 'STATE', 'SINCE', 'BY', 'NAME', 'PARENT'], cells);
}

function rowOf({ id, status, since, firstCaller, names, parents }: SnapshotSummary) {
  return [
    String(id),
    status ?? 'unknown',
    formatTime(since.time).replace(/\.\d+Z$/, 'Z'),
    visible(callerText(firstCaller)),
    visible(names.at(-1) ?? ''),
    String(parents[0]?.id ?? ''),
  ];
}

function inFull(answer: Answer, here: Here): readonly string[] {
  if (answer.kind === 'preallocated') {
    return [`${answer.id} is a directory made ahead: no snapshot has been given it yet.`];
  }
  if (answer.kind === 'set-aside') {
    return [
      answer.because === 'repair'
        ? `A repair lost the events of snapshot ${answer.id}, and set its directory aside.`
        : `Directory ${answer.id} is set aside: the log has it as ${answer.because}, and ${answer.evidence}.`,
      `Nothing deletes it but stratalog gc --delete ${answer.id}`,
    ];
  }
  if (answer.kind === 'orphan') {
    return [
      `No snapshot in the log owns ${answer.name}.`,
      'Startup removes such directories if they are unused; `stratalog inspect` says what it would do.',
    ];
  }
  const { life } = answer;
  const { id, names, status, usage, labels, firstCaller, since, parents, children } = life;
  return [
    `snapshot  ${id}`,
    `names     ${names.join(', then ') || 'retired from the log'}`,
    `state     ${status ?? 'unknown'}${endText(life)}`,
    `since     ${formatTime(since.time)}, position ${since.position}`,
    `asked by  ${callerText(firstCaller) || 'unknown'}`,
    `usage     ${usage === null ? 'not measured before Commit' : `${humanSize(usage.size)} in ${usage.inodes} inodes`}`,
    ...listLines(
      'labels',
      Object.entries(labels).map(([key, value]) => `${key}=${value}`),
    ),
    ...listLines('parents', parents.map(linkText)),
    ...listLines('children', children.map(linkText)),
    ...mountLines(usesIn(here, id), here),
  ];
}

function endText({ status, end }: SnapshotSummary): string {
  if (end === null) return '';
  const by = callerText(end.caller);
  const what = end.type === 'SnapshotAbandoned' ? 'given up' : 'removed';
  // The state may be that word itself.
  return `${status === what ? '' : `, ${what}`} at ${formatTime(end.time)}, position ${end.position}${by === '' ? '' : `, by ${by}`}`;
}

function mountLines(uses: readonly MountUse[] | null, here: Here): readonly string[] {
  if (uses === null) return [`mounts    unknown: ${here.mountsUnknown ?? ''}`];
  return listLines(
    'mounts',
    uses.map(({ mountpoint, type, as }) => `${mountpoint} (${type}, as ${as})`),
  );
}

function listLines(title: string, entries: readonly string[]): readonly string[] {
  const [first = 'none', ...rest] = entries;
  return [`${title.padEnd(10)}${first}`, ...rest.map((entry) => `${' '.repeat(10)}${entry}`)];
}

const linkText = ({ id, name }: { readonly id: number; readonly name: string }): string =>
  `${id} ${name}`;

function callerText(caller: Caller | null): string {
  const { namespace, lease, pid, uid, program } = caller ?? {};
  return [
    namespace,
    program && programName(program),
    pid === undefined ? undefined : `pid ${pid}`,
    uid === undefined ? undefined : `uid ${uid}`,
    lease === undefined ? undefined : `lease ${lease}`,
  ]
    .filter((part) => part !== undefined && part !== '')
    .join(', ');
}
