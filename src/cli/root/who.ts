/** `stratalog who`: finds the snapshot of a directory, file or mount. Works without a daemon. */
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
import { humanSize, withOutput, visible, type Output } from '../terminal/print.js';
import { allMounts, mountTables } from './mount-tables.js';
import { locateRoot, requireUndamaged } from './root-scan.js';
import { rootOf } from '../args/root-option.js';
import { NotInLog, resolveSubject, matchingSubjects } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly all?: true;
  readonly offline?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

const examples = `
Examples:
  stratalog who /var/lib/stratalog/snapshots/1384      the owner of a directory
  stratalog who /var/lib/stratalog/snapshots/7/fs/etc  the layer of a file
  stratalog who /run/containerd/…/web/rootfs           the snapshots of the root of a container
  stratalog who 1384                                   by id, key, name or digest

An argument that begins with / or . is a path; any other is a snapshot. Use ./ before a relative path.
Exits 0 if found, 1 if the log has no match, 3 for a directory that no snapshot owns.`;

export function whoCommand(): Command {
  return withArchiveOption(new Command('who').alias('blame'))
    .description(
      'show which snapshot owns a directory, file or mount, who requested it, and its uses',
    )
    .argument('<dir|file|mount|id|key|digest>', 'a path or a snapshot')
    .option('--all', 'show every snapshot that matches')
    .option('--offline', 'root of another machine: ignore the mount table of this machine')
    .option('--json', 'print one JSON object per snapshot')
    .option('-q, --quiet', 'print only ids')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', examples)
    .action((text: string, flags: Flags) => withOutput(flags, (out) => run(text, flags, out)));
}

/** The root and the mounts on this machine. */
interface LocalRoot {
  /** The path by which the daemon knows the root, if it is the same directory. */
  readonly root: string;
  /** Null if the mount table does not apply to this root. */
  readonly mounts: readonly MountEntry[] | null;
  readonly mountsUnknown: string | null;
}

async function run(text: string, flags: Flags, out: Output): Promise<void> {
  const givenRoot = await rootOf(flags);
  const host = openHost({ root: givenRoot });
  try {
    const local = await localRoot(host, givenRoot, flags.offline === true);
    await withArchive(flags, host.disk, async (archive) => {
      const query = { text, isAll: flags.all === true, roots: [local.root, givenRoot] };
      const answers = await answersTo(archive, query, local);
      if (answers.some(({ kind }) => kind === 'orphan')) {
        // The record of its owner may be lost to damage.
        if (flags.address === undefined) await requireUndamaged({ root: givenRoot, host });
        process.exitCode = EXIT.findings;
      }
      if (flags.json === true) await printJson(out, answers, local);
      else if (flags.quiet === true) await out.lines(answers.map(subjectOf));
      else await printAnswers(out, answers, local);
    });
  } finally {
    await host.close();
  }
}

async function localRoot(host: Host, givenRoot: string, isOffline: boolean): Promise<LocalRoot> {
  const { root, holder, mountsUnknown } = await locateRoot({ root: givenRoot, host, isOffline });
  const mounts = mountsUnknown === null ? allMounts(await mountTables(host, holder)) : null;
  return { root, mounts, mountsUnknown };
}

interface Query {
  readonly text: string;
  readonly isAll: boolean;
  /** The paths of the root. */
  readonly roots: readonly string[];
}

async function answersTo(
  archive: Archive,
  query: Query,
  local: LocalRoot,
): Promise<readonly Answer[]> {
  const { next } = await archive.bounds();
  const { forest } = await archive.stateAt(next);
  const found = await resolveIds(archive, query, { ...local, forest });
  if (!Array.isArray(found)) return [{ kind: 'orphan', name: found.named }];
  return Promise.all(found.map((id) => answerFor(archive, forest, id)));
}

/** @throws NotInLog */
async function resolveIds(
  archive: Archive,
  { text, isAll, roots }: Query,
  local: LocalRoot & { readonly forest: Forest },
): Promise<SnapshotId[] | { readonly named: string }> {
  if (!/^[./]/.test(text)) return idsMatching(archive, text, isAll);
  const path = resolve(text);
  const real = await realpathOrNearest(path);
  const rootPaths = new Set([...roots, ...(await Promise.all(roots.map(realpathOrNearest)))]);
  // The given path before the real path: a link in a layer belongs to that layer.
  const places = [path, real].flatMap((each) => [...rootPaths].map((root) => placeOf(each, root)));
  const place =
    places.find(({ kind }) => kind === 'numbered' || kind === 'named') ??
    places.find(({ kind }) => kind !== 'elsewhere');
  if (place?.kind === 'numbered') return [place.id];
  if (place?.kind === 'named') return { named: place.name };
  if (place?.kind === 'maps') {
    const ids = mappedIn(local.forest, place.name, local.root);
    if (ids.length > 0) return [...ids];
    throw new NotInLog(`${quoted(path)} contains idmapped mounts that no snapshot uses`);
  }
  if (place?.kind === 'all') {
    throw new NotInLog(`${quoted(path)} contains all snapshots; give a directory below it`);
  }
  if (place?.kind === 'ours') {
    throw new NotInLog(`${quoted(path)} belongs to Stratalog itself, not to a snapshot`);
  }
  return idsInMount(text, real, local);
}

/** @throws NotInLog */
async function idsMatching(archive: Archive, text: string, isAll: boolean): Promise<SnapshotId[]> {
  try {
    const subjects = isAll
      ? await matchingSubjects(archive, { text })
      : [await resolveSubject(archive, { text })];
    return subjects.map(({ id }) => id);
  } catch (thrown) {
    if (!(thrown instanceof NotInLog) || !text.includes('/') || !(await pathExists(text))) {
      throw thrown;
    }
    throw new NotInLog(`${thrown.message}; to use the path of that name, write ./ before it`);
  }
}

const pathExists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

function idsInMount(text: string, real: string, { root, mounts, mountsUnknown }: LocalRoot) {
  if (mounts === null) {
    const why = mountsUnknown ?? '';
    throw new NotInLog(`${quoted(text)} is not in ${root}, and its mounts are unknown: ${why}`);
  }
  const mount = mountOf(real, mounts);
  const ids = mount === null ? [] : idsShownBy(mount, mounts, snapshotsDirectory(root));
  if (ids.length > 0) return [...ids];
  const type = mount === null ? '' : ` (type ${mount.fileSystemType})`;
  throw new NotInLog(
    `${quoted(text)} is not in ${root}, and its mount ` +
      `${mount?.mountpoint ?? 'none'}${type} is not one of a snapshot`,
  );
}

/** The real path of the longest existing prefix, followed by the rest of the path. */
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

function usesIn({ mounts, root }: LocalRoot, id: SnapshotId): readonly MountUse[] | null {
  return mounts === null ? null : usesOf(id, mounts, snapshotsDirectory(root));
}

async function printJson(out: Output, answers: readonly Answer[], local: LocalRoot): Promise<void> {
  const more = { root: local.root, mountsUnknownBecause: local.mountsUnknown };
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
      mounts: usesIn(local, life.id),
      ...more,
    });
  }
}

async function printAnswers(
  out: Output,
  answers: readonly Answer[],
  local: LocalRoot,
): Promise<void> {
  const [answer, ...others] = answers;
  if (answer !== undefined && others.length === 0) {
    await out.lines(detailLines(answer, local).map(visible));
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

function detailLines(answer: Answer, local: LocalRoot): readonly string[] {
  if (answer.kind === 'preallocated') {
    return [`Directory ${answer.id} is preallocated: no snapshot uses it yet.`];
  }
  if (answer.kind === 'set-aside') {
    return [
      answer.because === 'repair'
        ? `The events of snapshot ${answer.id} were lost in a repair, and its directory is set aside.`
        : `Directory ${answer.id} is set aside: the log has it as ${answer.because}, but ${answer.evidence}.`,
      `It is kept until \`stratalog gc --delete ${answer.id}\` deletes it.`,
    ];
  }
  if (answer.kind === 'orphan') {
    return [
      `No snapshot in the log owns ${answer.name}.`,
      'Startup removes such directories if they are unused; run `stratalog inspect` to see the plan.',
    ];
  }
  const { life } = answer;
  const { id, names, status, usage, labels, firstCaller, since, parents, children } = life;
  return [
    `snapshot  ${id}`,
    `names     ${names.join(', then ') || 'retired from the log'}`,
    `state     ${status ?? 'unknown'}${endText(life)}`,
    `since     ${formatTime(since.time)}, position ${since.position}`,
    `caller    ${callerText(firstCaller) || 'unknown'}`,
    `usage     ${usage === null ? 'not measured before Commit' : `${humanSize(usage.size)} in ${usage.inodes} inodes`}`,
    ...listLines(
      'labels',
      Object.entries(labels).map(([key, value]) => `${key}=${value}`),
    ),
    ...listLines('parents', parents.map(linkText)),
    ...listLines('children', children.map(linkText)),
    ...mountLines(usesIn(local, id), local),
  ];
}

function endText({ status, end }: SnapshotSummary): string {
  if (end === null) return '';
  const by = callerText(end.caller);
  const what = end.type === 'SnapshotAbandoned' ? 'abandoned' : 'removed';
  // The state may already be that word.
  return `${status === what ? '' : `, ${what}`} at ${formatTime(end.time)}, position ${end.position}${by === '' ? '' : `, by ${by}`}`;
}

function mountLines(uses: readonly MountUse[] | null, local: LocalRoot): readonly string[] {
  if (uses === null) return [`mounts    unknown: ${local.mountsUnknown ?? ''}`];
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
