/**
 * `stratalog gc`: shows for each entry of `snapshots/` whether it is kept or collected, and why.
 * Removals are events, which only the process that holds the root can write: a running daemon
 * collects with its Cleanup, a stopped root is collected here.
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
import { addressOf, checkListening } from '../args/daemon-socket.js';
import { EXIT } from '../exit-codes.js';
import { collectedOf, printGc } from './gc-print.js';
import { requireNotHeld, withHeldRoot } from './held-root.js';
import { liveHolder } from './holder.js';
import { quoted } from '../args/moment.js';
import { printNotice, visible, withOutput, type Output } from '../terminal/print.js';
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

/** The limit for a Cleanup call, which may delete many large directories. */
const collectMillisMax = 600_000;
/** Without --min-age, no entry is too young. */
const NEVER = unixNanos(2n ** 63n - 1n);
/** Limits the entries listed in an error. */
const LISTED_MAX = 20;

export function gcCommand(): Command {
  return withRootOption(new Command('gc'))
    .description('collect unused directories, and show which are kept or collected, and why')
    .option('--dry-run', 'collect nothing; exits 3 if there is something to collect')
    .option('--min-age <duration>', 'keep unowned directories younger than this: 24h', '0s')
    .option(
      '--delete <directory>',
      'also delete this entry of snapshots/ with its content; may be repeated',
      (name: string, names: readonly string[] | undefined) => [...(names ?? []), name],
    )
    .option('-y, --yes', 'do not ask for confirmation of --delete')
    .option(
      '-a, --address <socket>',
      'socket of the daemon (default: $STRATALOG_ADDRESS, else the configured one)',
    )
    .option('--no-size', 'do not measure directories, which is slow if they are large')
    .option('--json', 'print one JSON object per directory')
    .option('-q, --quiet', 'print only the names of collected directories')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText(
      'after',
      `
Examples:
  stratalog gc --dry-run                          what the next Cleanup would remove, and why
  stratalog gc --dry-run --json | jq 'select(.verdict == "collected") | .size'
  stratalog gc --min-age 24h                      keep unowned directories of the last day
  stratalog gc --delete 17                        also delete directory 17, which is set aside

If a daemon is running, its Cleanup collects, as it does after each garbage collection of containerd.
Cleanup does not know --min-age: nothing is collected while there is a younger directory. A stopped
root is collected by this command.

An unowned directory is deleted only if it is unused: its fs is empty and no mount uses it. Otherwise
it is kept and set aside; --delete deletes it, unless a mount uses it.
Exits 0, or 3 if --dry-run finds something to collect.`,
    )
    .action((flags: Flags, command: Command) =>
      withOutput(flags, (out) => run(flags, command, out)),
    );
}

async function run(flags: Flags, command: Command, out: Output): Promise<void> {
  const minAge = parseDuration(flags.minAge);
  if (minAge === null) {
    throw new UsageError(`--min-age ${quoted(flags.minAge)}: not a duration; use for example 24h`);
  }
  const root = await rootOf(flags);
  const host = openHost({ root });
  try {
    const holder = await liveHolder(root);
    if (holder === null && flags.address !== undefined) {
      throw new UsageError(
        `--address ${flags.address}: no daemon serves ${root}; omit --address to collect a stopped root`,
      );
    }
    const isDry = flags.dryRun === true;
    if (holder?.isTool === true && !isDry) await requireNotHeld(root);
    // Refuses a path through a link, and a directory inside of another root.
    if (!isDry && holder === null) await checkRootLocation(root, null);
    // A copy of a root may be read but not changed.
    const acceptedMove = isDry || holder !== null ? 'copy' : 'none';
    await examineRoot(host.disk, root, { expectExisting: true, acceptedMove });
    await requireUndamaged({ root, host });
    const now = host.clock.now();
    const youngAfter = minAge === 0 ? NEVER : unixNanos(now - BigInt(minAge) * 1_000_000n);
    const entryState = await entryLook(snapshotsDirectory(root), host.workers, host.mountTable);
    const isServed = holder?.isTool === false;
    const requested: ReadonlySet<string> = new Set(flags.delete ?? []);
    const context = { root, host, entryState, isServed, youngAfter, now, requested };
    const { verdicts, hasUnrecordedUse } = await decide(context);
    requireDeletable(verdicts, requested);
    const sizes = flags.size ? await sizesOf(verdicts, entryState) : new Map<string, number>();
    await printGc({ verdicts, sizes, now }, flags, out);
    const collected = collectedOf(verdicts);
    if (isDry) {
      if (collected.length > 0) process.exitCode = EXIT.findings;
      return;
    }
    if (collected.length === 0 && !hasUnrecordedUse) return;
    await out.flush();
    await confirmRequested(flags);
    if (holder !== null) {
      refuseYoung(verdicts, flags.minAge);
      await callCleanup(await addressOf(flags, command, root), requested);
      await reportRemaining(collected, host);
    } else {
      await collectHere(context, collected);
    }
  } finally {
    await host.close();
  }
}

interface GcContext {
  readonly root: string;
  readonly host: Host;
  readonly entryState: EntryState;
  /** A daemon is running. */
  readonly isServed: boolean;
  readonly youngAfter: UnixNanos;
  readonly now: UnixNanos;
  /** Entries to delete with their content. */
  readonly requested: ReadonlySet<string>;
}

interface Decisions {
  readonly verdicts: readonly GcDecision[];
  readonly uses: Uses;
  /** A directory in use is not yet set aside in the log. */
  readonly hasUnrecordedUse: boolean;
}

/**
 * Lists the directories before it reads the log, so that the log knows the owners of all of them, and
 * again after, to leave out those that were removed meanwhile.
 */
async function decide({
  root,
  host,
  entryState,
  isServed,
  youngAfter,
  now,
  requested,
}: GcContext): Promise<Decisions> {
  const { disk } = host;
  const first = await namesIn(host);
  const { replay } = await replayRoot(disk, root);
  const still = new Set((await namesIn(host)).map(({ name }) => name));
  const entries = first.filter(({ name }) => still.has(name));
  const { forest } = replay;
  const candidates = gcCandidates(forest, entries);
  const names = candidates.map(({ name }) => name);
  const uses = usesByName(candidates, await host.directories.usesOf(names));
  const changedAt = await entryState.changedAt(namesWithoutSnapshot(forest, entries));
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
  const hasUnrecordedUse = verdicts.some(
    ({ entry, verdict }) => verdict.because.kind === 'in-use' && !forest.setAside.has(entry),
  );
  return { verdicts, uses, hasUnrecordedUse };
}

/** --delete accepts only existing entries without an owner. @throws UsageError */
function requireDeletable(verdicts: readonly GcDecision[], requested: ReadonlySet<string>): void {
  for (const name of requested) {
    const found = verdicts.find(({ entry }) => entry === name);
    if (found === undefined) {
      throw new UsageError(`--delete ${quoted(name)}: no such entry in snapshots/`);
    }
    const { because } = found.verdict;
    if (because.kind === 'requested') continue;
    const why = visible(reasonInWords(because, formatTime));
    const hint = because.kind === 'in-use' ? '; remove the container or mount that uses it' : '';
    throw new UsageError(`--delete ${quoted(name)}: cannot delete: ${why}${hint}`);
  }
}

async function confirmRequested(flags: Flags): Promise<void> {
  const names = flags.delete ?? [];
  if (names.length === 0 || flags.yes === true) return;
  await confirm(`Delete ${visible(names.join(', '))} with all content?`, {
    abortMessage: 'nothing was deleted',
    isForScript: flags.json === true || flags.quiet === true,
  });
}

/** An imported root has no `snapshots/`. */
async function namesIn({ directories }: Host): Promise<readonly SnapshotDirectoryEntry[]> {
  try {
    return await directories.list(undefined, { namesOnly: true });
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}

/** Uses the size in the log if there is one. */
async function sizesOf(
  verdicts: readonly GcDecision[],
  entryState: EntryState,
): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>();
  const line = statusLine(process.stderr);
  let measured = 0;
  await Promise.all(
    verdicts.map(async ({ entry, loggedSize }) => {
      const size = loggedSize ?? (await entryState.size(entry));
      if (size !== null) sizes.set(entry, size);
      measured += 1;
      line.draw(() => `${measured} of ${verdicts.length} directories measured`);
    }),
  );
  line.erase();
  return sizes;
}

/** Cleanup does not know --min-age, and would collect entries that were reported as kept. */
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
      'Cleanup of the daemon would delete it; move it out of snapshots/, wait, or omit --min-age',
  );
}

async function callCleanup(address: string, requested: ReadonlySet<string>): Promise<void> {
  await checkListening(address, 5_000);
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

/** Fails with RootLocked if a daemon was started meanwhile. Collects only entries in `reported`. */
async function collectHere(context: GcContext, reported: readonly string[]): Promise<void> {
  const { root, host } = context;
  const line = statusLine(process.stderr);
  const onNext = (done: number, of: number) =>
    line.draw(() => `${done} of ${of} directories removed`);
  const { directories, idmappedMounts } = host;
  const snapshotsPath = snapshotsDirectory(root);
  const { removed, stayed } = await withHeldRoot(root, 'gc', async (held) => {
    // The root may have changed before it was held.
    const entryState = await entryLook(snapshotsPath, host.workers, host.mountTable);
    const { verdicts, uses } = await decide({ ...context, entryState });
    requireDeletable(verdicts, context.requested);
    const current = new Set(collectedOf(verdicts));
    const entries = reported.filter((entry) => current.has(entry));
    const { requested } = context;
    const options = { snapshotsPath, directories, idmappedMounts, uses, requested, onNext };
    return collect(held, entries, options);
  }).finally(() => line.erase());
  printNotice(`removed ${pluralize(removed, 'directory', 'directories')}`);
  if (stayed.length === 0) return;
  const lines = stayed.slice(0, LISTED_MAX).map(({ entry, why }) => `  ${visible(entry)}: ${why}`);
  const more = stayed.length - lines.length;
  throw new Error(
    [
      `cannot remove ${pluralize(stayed.length, 'directory', 'directories')}; the next gc or startup retries:`,
      ...lines,
      ...(more > 0 ? [`  and ${more} more`] : []),
    ].join('\n'),
  );
}

async function reportRemaining(collected: readonly string[], host: Host): Promise<void> {
  const idmapped = (await host.idmappedMounts.list()).map((entry) => `${IDMAPPED}${entry}`);
  const existing = new Set([...(await namesIn(host)).map(({ name }) => name), ...idmapped]);
  const remaining = collected.filter((name) => existing.has(name));
  printNotice(
    `removed ${pluralize(collected.length - remaining.length, 'directory', 'directories')}`,
  );
  if (remaining.length === 0) return;
  throw new Error(
    `cannot remove ${pluralize(remaining.length, 'directory', 'directories')} (${visible(remaining.slice(0, 5).join(', '))}): ` +
      'they are mounted or cannot be deleted; see the log messages of the daemon',
  );
}
