/**
 * `stratalog gc`: each entry of `snapshots/`, kept or collected, and why. Removals are events, and
 * only whoever holds the root writes events: beside a daemon the collecting is its Cleanup; of a
 * stopped root it is done here.
 */
import { credentials } from '@grpc/grpc-js';
import { Command } from 'commander';
import { parseDuration } from '../../daemon/config/config-values.js';
import { deletionRequests } from '../../api/snapshots/deletion-request.js';
import { checkRootLocation } from '../../api/root/root-path.js';
import { SnapshotsClient } from '../../api/generated/containerd/services/snapshots/v1/snapshots.js';
import { pluralize } from '../../base/pluralize.js';
import { errnoOf, UsageError } from '../../base/errors.js';
import type { SnapshotDirectoryEntry } from '../../base/ports.js';
import { formatTime, position, unixNanos, type UnixNanos } from '../../base/units.js';
import { entryLook, type EntryState } from '../../host/files/entries.js';
import { openHost, type Host } from '../../host/host.js';
import { spanInWords } from '../../inspect/events/durations.js';
import { idsInWords } from '../../inspect/events/id-ranges.js';
import {
  gcDecisions,
  IDMAPPED,
  gcCandidates,
  namesWithoutSnapshot,
  reasonInWords,
  removalsIn,
  removalTimes,
  type GcDecision,
} from '../../inspect/startup/gc.js';
import { idmappedEntries } from '../../inspect/startup/idmapped-plan.js';
import { replayRoot } from '../../inspect/archive/replay-root.js';
import { usesByName, type Uses } from '../../inspect/startup/unowned.js';
import { snapshotsDirectory } from '../../log/files.js';
import { examineRoot } from '../../log/root/identity.js';
import { readLogBatches } from '../../log/reader.js';
import { collect } from '../../maintenance/collect.js';
import { confirm } from '../terminal/confirm.js';
import { addressOf, reach } from '../args/daemon-socket.js';
import { EXIT } from '../exit-codes.js';
import { refuseLive, withHeldRoot } from './held-root.js';
import { liveHolder } from './holder.js';
import { quoted } from '../args/moment.js';
import { humanSize, printing, visible, type Output } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';
import { requireUndamaged } from './root-scan.js';
import { statusLine } from '../terminal/status-line.js';

interface Flags extends RootFlags {
  readonly dryRun?: true;
  readonly minAge: string;
  readonly delete?: readonly string[];
  readonly yes?: true;
  readonly address?: string;
  /** False for `--no-size`. */
  readonly size: boolean;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

/** A collection may delete much; nobody waits longer than this for it. */
const collectMillisMax = 600_000;
/** Nothing is too young without an age. */
const NEVER = unixNanos(2n ** 63n - 1n);
/** Told one by one. */
const STAYED_MAX = 20;

export function gcCommand(): Command {
  return withRootOption(new Command('gc'))
    .description('tell of each directory whether it is kept or collected, and why; collect')
    .option('--dry-run', 'collect nothing; exits 3 when something would be collected')
    .option('--min-age <duration>', 'keep what no snapshot owns when it is younger: 24h', '0s')
    .option(
      '--delete <directory>',
      'also delete this entry of snapshots/, with its content; may be repeated',
      (name: string, names: readonly string[] | undefined) => [...(names ?? []), name],
    )
    .option('-y, --yes', 'do not ask before --delete')
    .option('-a, --address <socket>', "the daemon's socket (STRATALOG_ADDRESS; else configured)")
    .option('--no-size', 'do not measure: with many large directories that takes a while')
    .option('--json', 'print a JSON object for each directory')
    .option('-q, --quiet', 'print only the names of what is collected')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText(
      'after',
      `
Examples:
  stratalog gc --dry-run                          what the next Cleanup removes, and why the rest stays
  stratalog gc --dry-run --json | jq 'select(.verdict == "collected") | .size'
  stratalog gc --min-age 24h                      collect now, but nothing unowned that is younger
  stratalog gc --delete 17                        also directory 17, which is set aside, and what is in it

Beside a daemon the collecting is its own Cleanup, which containerd calls too after each of its
garbage collections; it knows no age, so nothing is collected while something is younger than
--min-age. A stopped root is collected here.

A directory that no snapshot owns is deleted only if it is unused: its fs is empty, and no mount
uses it. One that is in use is kept and set aside; --delete deletes it, unless a mount uses it.
Exits 0, or 3 when --dry-run finds something to collect.`,
    )
    .action((flags: Flags, command: Command) => printing(flags, (out) => run(flags, command, out)));
}

async function run(flags: Flags, command: Command, out: Output): Promise<void> {
  const minAge = parseDuration(flags.minAge);
  if (minAge === null) {
    throw new UsageError(`--min-age ${quoted(flags.minAge)}: not a duration; say it as 24h or 90s`);
  }
  const root = await rootOf(flags);
  const host = openHost({ root });
  try {
    const holder = await liveHolder(root);
    if (holder === null && flags.address !== undefined) {
      throw new UsageError(
        `--address ${flags.address}: no daemon serves ${root}, so that one serves another root; leave it out`,
      );
    }
    const isDry = flags.dryRun === true;
    if (holder?.isTool === true && !isDry) await refuseLive(root);
    // Deletes nothing through a link, nor in a directory that a root above this one owns.
    if (!isDry && holder === null) await checkRootLocation(root, null);
    // A copy of a root may be looked at; only where it was made it may be changed.
    const acceptedMove = isDry || holder !== null ? 'copy' : 'none';
    await examineRoot(host.disk, root, { expectExisting: true, acceptedMove });
    await requireUndamaged({ root, host });
    const now = host.clock.now();
    const youngAfter = minAge === 0 ? NEVER : unixNanos(now - BigInt(minAge) * 1_000_000n);
    const look = await entryLook(snapshotsDirectory(root), host.workers, host.mountTable);
    const isServed = holder?.isTool === false;
    const requested: ReadonlySet<string> = new Set(flags.delete ?? []);
    const world = { root, host, look, isServed, youngAfter, now, requested };
    const { verdicts, hasNews } = await verdictsOn(world);
    refuseRequested(verdicts, requested);
    const sizes = flags.size ? await sizesOf(verdicts, look) : new Map<string, number>();
    await print({ verdicts, sizes, now }, flags, out);
    const collected = collectedOf(verdicts);
    if (isDry) {
      if (collected.length > 0) process.exitCode = EXIT.findings;
      return;
    }
    if (collected.length === 0 && !hasNews) return;
    await out.flush();
    await confirmRequested(flags);
    if (holder !== null) {
      refuseYoung(verdicts, flags.minAge);
      await askCleanup(await addressOf(flags, command, root), requested);
      await tellWhatStayed(collected, host);
    } else {
      await collectHere(world, collected);
    }
  } finally {
    await host.close();
  }
}

interface World {
  readonly root: string;
  readonly host: Host;
  readonly look: EntryState;
  /** A daemon is at work. */
  readonly isServed: boolean;
  readonly youngAfter: UnixNanos;
  readonly now: UnixNanos;
  /** Entries to be deleted with their content. */
  readonly requested: ReadonlySet<string>;
}

interface Verdicts {
  readonly verdicts: readonly GcDecision[];
  readonly uses: Uses;
  /** Something in use is not set aside yet. */
  readonly hasNews: boolean;
}

/**
 * Directories first, so that one that appears while the log is read is of no concern; then again,
 * because one may have been removed meanwhile, as the log then says.
 */
async function verdictsOn({
  root,
  host,
  look,
  isServed,
  youngAfter,
  now,
  requested,
}: World): Promise<Verdicts> {
  const { disk } = host;
  const first = await namesIn(host);
  const { replay } = await replayRoot(disk, root);
  const still = new Set((await namesIn(host)).map(({ name }) => name));
  const entries = first.filter(({ name }) => still.has(name));
  const { forest } = replay;
  const candidates = gcCandidates(forest, entries);
  const names = candidates.map(({ name }) => name);
  const uses = usesByName(candidates, await host.directories.usesOf(names));
  const changedAt = await look.changedAt(namesWithoutSnapshot(forest, entries));
  const backwards = readLogBatches({
    ...{ root, disk, from: position(0), to: replay.position, reverse: true },
  });
  const removedAt = await removalTimes(removalsIn(forest), backwards);
  const idmapped = idmappedEntries(forest, await host.idmappedMounts.list(), root);
  const verdicts = gcDecisions({
    ...{
      forest,
      entries,
      idmapped,
      uses,
      requested,
      isServed,
      changedAt,
      removedAt,
      youngAfter,
      now,
    },
  });
  const hasNews = verdicts.some(
    ({ entry, verdict }) => verdict.because.kind === 'in-use' && !forest.setAside.has(entry),
  );
  return { verdicts, uses, hasNews };
}

/** Only what nothing owns can be named, and only what exists. */
function refuseRequested(verdicts: readonly GcDecision[], requested: ReadonlySet<string>): void {
  for (const name of requested) {
    const found = verdicts.find(({ entry }) => entry === name);
    if (found === undefined) {
      throw new UsageError(`--delete ${quoted(name)}: there is no such entry in snapshots/`);
    }
    const { because } = found.verdict;
    if (because.kind === 'requested') continue;
    const why = visible(reasonInWords(because, formatTime));
    const advice =
      because.kind === 'in-use' ? '; end what uses it first (a container, a mount)' : '';
    throw new UsageError(`--delete ${quoted(name)}: it is not deleted: ${why}${advice}`);
  }
}

async function confirmRequested(flags: Flags): Promise<void> {
  const names = flags.delete ?? [];
  if (names.length === 0 || flags.yes === true) return;
  await confirm(`Delete ${visible(names.join(', '))} and all that is in it?`, {
    undone: 'nothing was deleted',
    isForScript: flags.json === true || flags.quiet === true,
  });
}

/** A root that was imported has no `snapshots/`. */
async function namesIn({ directories }: Host): Promise<readonly SnapshotDirectoryEntry[]> {
  try {
    return await directories.list(undefined, { namesOnly: true });
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}

/** What the log has measured is not measured again. */
async function sizesOf(
  verdicts: readonly GcDecision[],
  look: EntryState,
): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>();
  const line = statusLine(process.stderr);
  let measured = 0;
  await Promise.all(
    verdicts.map(async ({ entry, loggedSize }) => {
      const size = loggedSize ?? (await look.size(entry));
      if (size !== null) sizes.set(entry, size);
      measured += 1;
      line.draw(() => `${measured} of ${verdicts.length} directories measured`);
    }),
  );
  line.erase();
  return sizes;
}

const collectedOf = (verdicts: readonly GcDecision[]): readonly string[] =>
  verdicts.filter(({ verdict }) => verdict.kind === 'collected').map(({ entry }) => entry);

interface Told {
  readonly verdicts: readonly GcDecision[];
  readonly sizes: ReadonlyMap<string, number>;
  readonly now: UnixNanos;
}

async function print(told: Told, flags: Flags, out: Output): Promise<void> {
  if (flags.quiet === true) await out.lines(collectedOf(told.verdicts).map(visible));
  else if (flags.json === true) await printJson(told, out);
  else await printTable(told, out);
}

async function printJson({ verdicts, sizes }: Told, out: Output): Promise<void> {
  for (const { entry, since, verdict } of verdicts) {
    const { kind: reason, ...detail } = verdict.because;
    await out.json('gc', {
      entry,
      verdict: verdict.kind,
      reason,
      size: sizes.get(entry) ?? null,
      changedAt: since === null ? null : formatTime(since),
      ...detail,
      ...('since' in detail
        ? { since: detail.since === null ? null : formatTime(detail.since) }
        : {}),
    });
  }
}

async function printTable({ verdicts, sizes, now }: Told, out: Output): Promise<void> {
  const { yellow } = out.colors;
  const sizeText = (size: number | null) => (size === null ? '-' : humanSize(size));
  const rows = rowsOf(verdicts, sizes).map(({ name, size, since, verdict }) => [
    visible(name),
    verdict.kind === 'kept' ? verdict.kind : yellow(verdict.kind),
    sizeText(size),
    since === null ? '-' : spanInWords(now - since),
    visible(reasonInWords(verdict.because, formatTime)),
  ]);
  if (rows.length > 0) {
    await out.table(['DIRECTORY', 'VERDICT', 'SIZE', 'AGE', 'REASON'], rows);
    await out.line('');
  }
  for (const kind of ['kept', 'collected'] as const) {
    const entries = verdicts.filter(({ verdict }) => verdict.kind === kind);
    const bytes = entries.reduce((sum, { entry }) => sum + (sizes.get(entry) ?? 0), 0);
    const size = sizes.size === 0 ? '' : `, ${humanSize(bytes)}`;
    await out.line(`${kind.padEnd(11)} ${entries.length}${size}`);
  }
}

interface Row extends Pick<GcDecision, 'since' | 'verdict'> {
  /** The entry, or the numbers of several. */
  readonly name: string;
  /** Bytes; null when nothing of it is measured. */
  readonly size: number | null;
}

/** Spare directories are one row, where the first of them stands: a fresh node has nothing else. */
function rowsOf(
  verdicts: readonly GcDecision[],
  sizes: ReadonlyMap<string, number>,
): readonly Row[] {
  const preallocated = verdicts.filter(isPreallocated);
  return verdicts.flatMap((verdict) => {
    if (!isPreallocated(verdict)) {
      return [{ ...verdict, name: verdict.entry, size: sizes.get(verdict.entry) ?? null }];
    }
    return verdict === preallocated[0] ? [gathered(verdict, preallocated, sizes)] : [];
  });
}

const isPreallocated = ({ verdict }: GcDecision): boolean =>
  verdict.because.kind === 'preallocated';

/** As old as the first. */
function gathered(
  first: GcDecision,
  preallocated: readonly GcDecision[],
  sizes: ReadonlyMap<string, number>,
): Row {
  const measured = preallocated.flatMap(({ entry }) => sizes.get(entry) ?? []);
  const size = measured.length === 0 ? null : measured.reduce((sum, one) => sum + one, 0);
  return { ...first, name: idsInWords(preallocated.map(({ entry }) => Number(entry))), size };
}

/** Cleanup knows no age: it would take what was just said to be kept. */
function refuseYoung(verdicts: readonly GcDecision[], minAge: string): void {
  const young = verdicts.filter(({ verdict }) => {
    const { kind } = verdict.because;
    return kind === 'young' || kind === 'age-unknown';
  });
  const [first] = young;
  if (first === undefined) return;
  const more = young.length === 1 ? '' : ` and ${young.length - 1} more`;
  const is = first.verdict.because.kind === 'young' ? 'is' : 'may be';
  throw new Error(
    `nothing was collected: ${visible(first.entry)}${more} ${is} younger than --min-age ${minAge}, and ` +
      "the daemon's Cleanup asks for no age. Move it out of snapshots/, wait, or leave out --min-age",
  );
}

async function askCleanup(address: string, requested: ReadonlySet<string>): Promise<void> {
  await reach(address, 5_000);
  const client = new SnapshotsClient(`unix:${address}`, credentials.createInsecure());
  try {
    for (const metadata of deletionRequests(requested)) {
      await new Promise<void>((settle, reject) => {
        const deadline = Date.now() + collectMillisMax;
        client.cleanup({ snapshotter: '' }, metadata, { deadline }, (fault) => {
          if (fault === null) settle();
          else reject(new Error(`Cleanup of the daemon at ${address} failed: ${fault.details}`));
        });
      });
    }
  } finally {
    client.close();
  }
}

/** A daemon that was started meanwhile has the root: it is exit code 4 then. */
async function collectHere(world: World, told: readonly string[]): Promise<void> {
  const { root, host } = world;
  const line = statusLine(process.stderr);
  const onNext = (done: number, of: number) =>
    line.draw(() => `${done} of ${of} directories removed`);
  const { directories, idmappedMounts } = host;
  const snapshotsPath = snapshotsDirectory(root);
  const { removed, stayed } = await withHeldRoot(root, 'gc', async (held) => {
    // Somebody may have collected, or begun a snapshot, before the root was held.
    const look = await entryLook(snapshotsPath, host.workers, host.mountTable);
    const { verdicts, uses } = await verdictsOn({ ...world, look });
    refuseRequested(verdicts, world.requested);
    const now = new Set(collectedOf(verdicts));
    const entries = told.filter((entry) => now.has(entry));
    const { requested } = world;
    const options = { snapshotsPath, directories, idmappedMounts, uses, requested, onNext };
    return collect(held, entries, options);
  }).finally(() => line.erase());
  process.stderr.write(`stratalog: ${pluralize(removed, 'directory', 'directories')} gone\n`);
  if (stayed.length === 0) return;
  const lines = stayed.slice(0, STAYED_MAX).map(({ entry, why }) => `  ${visible(entry)}: ${why}`);
  const more = stayed.length - lines.length;
  throw new Error(
    [
      `${pluralize(stayed.length, 'directory', 'directories')} could not be removed; a later gc or start tries again:`,
      ...lines,
      ...(more > 0 ? [`  and ${more} more`] : []),
    ].join('\n'),
  );
}

async function tellWhatStayed(collected: readonly string[], host: Host): Promise<void> {
  const idmapped = (await host.idmappedMounts.list()).map((entry) => `${IDMAPPED}${entry}`);
  const there = new Set([...(await namesIn(host)).map(({ name }) => name), ...idmapped]);
  const stayed = collected.filter((name) => there.has(name));
  process.stderr.write(
    `stratalog: ${pluralize(collected.length - stayed.length, 'directory', 'directories')} gone\n`,
  );
  if (stayed.length === 0) return;
  throw new Error(
    `${pluralize(stayed.length, 'directory', 'directories')} could not be removed (${visible(stayed.slice(0, 5).join(', '))}): ` +
      'something is mounted in them, or they cannot be deleted. The messages of the daemon say why',
  );
}
