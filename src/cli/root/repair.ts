/** `stratalog repair`: shows a repair plan for a damaged log, asks for confirmation, and repairs. */
import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { Command } from 'commander';
import { RELEASE } from '../../api/release.js';
import { errnoOf, UsageError } from '../../base/errors.js';
import type { MeasuredDirectory } from '../../base/ports.js';
import type { SnapshotId } from '../../base/units.js';
import { openHost, type Host } from '../../host/host.js';
import { planRepair, type RepairPlan, type RepairInputs } from '../../repair/plan/repair-plan.js';
import { readRepairPlan } from '../../repair/plan/read-repair-plan.js';
import { logDirectory, makeDirectoryIfAbsent } from '../../log/files.js';
import { takeLock } from '../../log/root/lock.js';
import { executeRepair, type DirectoryState } from '../../repair/repair.js';
import { replayRoot } from '../../inspect/archive/replay-root.js';
import { finishJournal, readJournal, type RepairJournal } from '../../repair/repair-journal.js';
import { findingsLeft, release, unverifiedIn } from '../../repair/after-repair.js';
import { confirm } from '../terminal/confirm.js';
import { EXIT } from '../exit-codes.js';
import { requireNotHeld, withHeldRoot } from './held-root.js';
import { quoted, requireWithinLog, parseWholeNumber } from '../args/moment.js';
import { withOutput, type Output } from '../terminal/print.js';
import { planFields, planLines } from './repair-print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly dryRun?: true;
  readonly yes?: true;
  readonly fromDirectories?: true;
  readonly endAt?: string;
  readonly release?: string;
  readonly json?: true;
  readonly trunc: boolean;
}

export function repairCommand(): Command {
  return withRootOption(new Command('repair'))
    .description('repair a damaged log, after showing the plan and asking for confirmation')
    .option('--dry-run', 'only show the plan')
    .option('-y, --yes', 'do not ask for confirmation')
    .option('--from-directories', 'recover directories without events as unverified layers')
    .option('--end-at <position>', 'end the log before this position, even if its record is valid')
    .option('--release <ids>', 'allow containerd to remove unverified snapshots: ids, or all')
    .option('--json', 'print one JSON object for the plan, and one for the result')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText(
      'after',
      `
The daemon must be stopped. Nothing is deleted: parts removed from the log are kept unchanged in
log/quarantine-…. Directories of snapshots whose events are lost are set aside; only
\`stratalog gc --delete\` deletes them.

Examples:
  stratalog repair --root /var/lib/stratalog --dry-run
  stratalog repair --root /var/lib/stratalog --from-directories --yes

Exits 0 if the log is sound or was repaired, 3 if manual steps remain or --dry-run finds something to
repair, 4 while a daemon has the root open.
docs/recovery.md explains each finding.`,
    )
    .action((flags: Flags) => withOutput(flags, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const host = openHost({ root });
  try {
    await requireNotHeld(root);
    if (flags.release !== undefined) await releaseSnapshots(flags, root, host, out);
    else await repair(flags, root, host, out);
  } finally {
    await host.close();
  }
}

async function repair(flags: Flags, root: string, host: Host, out: Output): Promise<void> {
  const journal = await readJournal(host.disk, root);
  if (journal !== null) {
    await finish(flags, root, host, out, journal);
    return;
  }
  const makePlan = () => planned(flags, root, host);
  const { plan } = await makePlan();
  if (flags.json === true) await out.json('repair-plan', { root, ...planFields(plan) });
  else await out.lines(planLines(plan, out.colors));
  if (plan.kind !== 'repair') {
    if (plan.needsPerson.length > 0) process.exitCode = EXIT.findings;
    return;
  }
  if (flags.dryRun === true) {
    process.exitCode = EXIT.findings;
    return;
  }
  await requireConfirmation(flags, out, 'Repair the log as shown?');
  await withLock(root, host, async () => {
    // The lock is held, so the root cannot change after this check.
    const { plan: current, world } = await makePlan();
    if (JSON.stringify(planFields(current)) !== JSON.stringify(planFields(plan))) {
      throw new Error(
        'nothing was changed: the root has changed since the plan was shown; run the command again',
      );
    }
    const options = {
      ...{ root, disk: host.disk, clock: host.clock, uuid: randomUUID },
      fileSystems: world.fileSystems,
      writtenBy: `stratalog ${RELEASE}`,
      inspectDirectory: (id: SnapshotId) => inspectDirectory(host, id),
    };
    const done = await executeRepair(options, plan, world.evidence);
    await report(flags, root, host, out, done);
  });
  if (plan.needsPerson.length > 0) process.exitCode = EXIT.findings;
}

/** Finishes an interrupted repair as planned. */
async function finish(
  flags: Flags,
  root: string,
  host: Host,
  out: Output,
  journal: RepairJournal,
): Promise<void> {
  const { quarantine, identity } = journal;
  if (flags.json === true) await out.json('repair-plan', { root, kind: 'unfinished', quarantine });
  else await out.line(`an earlier repair is unfinished (epoch ${identity.epoch}, ${quarantine})`);
  if (flags.dryRun === true) {
    process.exitCode = EXIT.findings;
    return;
  }
  await requireConfirmation(flags, out, 'Finish it?');
  await withLock(root, host, async () => {
    await finishJournal(host.disk, root, journal);
    await report(flags, root, host, out, { quarantine, ...identity });
  });
}

async function report(
  flags: Flags,
  root: string,
  host: Host,
  out: Output,
  done: { readonly quarantine: string; readonly epoch: number; readonly uuid: string },
): Promise<void> {
  const left = await findingsLeft(host.disk, root);
  const { quarantine, epoch, uuid } = done;
  if (flags.json === true) {
    await out.json('repair', { root, quarantine, epoch, uuid, findingsLeft: left });
  } else {
    await out.line(`repaired: epoch ${epoch}; removed parts are in log/${quarantine}`);
    await out.lines(left.map(({ kind, detail }) => `not repaired: ${kind}: ${detail}`));
    if (left.length === 0)
      await out.line('verified: the log is sound; run `stratalog inspect` before the next startup');
  }
  if (left.length > 0) process.exitCode = EXIT.findings;
}

async function requireConfirmation(flags: Flags, out: Output, question: string): Promise<void> {
  if (flags.yes === true) return;
  await out.flush();
  await confirm(question, {
    abortMessage: 'nothing was changed',
    isForScript: flags.json === true,
  });
}

async function withLock(root: string, host: Host, work: () => Promise<void>): Promise<void> {
  await makeDirectoryIfAbsent(host.disk, logDirectory(root));
  const holder = { pid: process.pid, host: hostname(), command: 'stratalog repair' };
  const lock = await takeLock(host.disk, host.clock, root, holder);
  try {
    await work();
  } finally {
    await lock.release();
  }
}

async function planned(
  flags: Flags,
  root: string,
  host: Host,
): Promise<{ readonly plan: RepairPlan; readonly world: RepairInputs }> {
  const endAt = parseWholeNumber('--end-at', flags.endAt);
  const world = await readRepairPlan({
    ...{ disk: host.disk, root, directories: await idsIn(host) },
    ...(endAt !== null && { endAt }),
  });
  if (endAt !== null) requireWithinLog(endAt, endOf(world));
  return { world, plan: planRepair(world, { fromDirectories: flags.fromDirectories === true }) };
}

/** The position after the last record, including records that are not connected to the log. */
const endOf = ({ walk, loose }: RepairInputs): number =>
  loose.reduce((end, { position }) => Math.max(end, position + 1), walk?.end.position ?? 0);

async function idsIn(host: Host): Promise<readonly SnapshotId[]> {
  try {
    const entries = await host.directories.list(undefined, { namesOnly: true });
    return entries.flatMap(({ id, isDirectory }) => (id !== null && isDirectory ? [id] : []));
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}

async function inspectDirectory(host: Host, id: SnapshotId): Promise<DirectoryState> {
  const fs = host.directories.fsPath(id);
  const mounts = await host.mountTable.read();
  const measured = await measure(host, id);
  if (mounts.some(({ superOptions }) => superOptions.includes(`upperdir=${fs}`))) {
    return { ...measured, looked: 'active' };
  }
  const entries = await unlessAbsent(readdir(fs), []);
  return { ...measured, looked: entries.length === 0 ? 'empty' : 'committed' };
}

function measure(host: Host, id: SnapshotId): Promise<MeasuredDirectory> {
  const nothing = { usage: { size: 0, inodes: 0 }, owner: { uid: 0, gid: 0 } };
  return unlessAbsent<MeasuredDirectory>(host.directories.measure(id), nothing);
}

/** Fails for an unreadable directory, which must not be taken for an empty one. */
async function unlessAbsent<Found>(reading: Promise<Found>, whenAbsent: Found): Promise<Found> {
  try {
    return await reading;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return whenAbsent;
    throw thrown;
  }
}

/** Holds the root only after the confirmation. */
async function releaseSnapshots(
  flags: Flags,
  root: string,
  host: Host,
  out: Output,
): Promise<void> {
  const ids = flags.release === 'all' ? null : idsOf(flags.release ?? '');
  const { forest } = (await replayRoot(host.disk, root)).replay;
  const unverified = unverifiedIn(forest, ids).map(({ id }) => id);
  const others = (ids ?? []).filter((id) => !unverified.some((known) => known === id));
  const setAside = others.filter((id) => forest.setAside.has(String(id)));
  const quotedFlag = `--release ${quoted(flags.release ?? '')}`;
  if (setAside.length > 0) {
    throw new UsageError(
      `${quotedFlag}: ${setAside.join(', ')} is not a snapshot but a directory that is set aside; ` +
        `use \`stratalog gc --delete ${setAside[0]}\` to delete it`,
    );
  }
  if (others.length > 0) {
    throw new UsageError(
      `${quotedFlag}: ${others.join(', ')} is not an unverified snapshot of a repair; ` +
        'run `stratalog layers` to list snapshots',
    );
  }
  if (flags.dryRun === true || unverified.length === 0) {
    await printRelease(flags, root, out, unverified, 'would release');
    if (unverified.length > 0) process.exitCode = EXIT.findings;
    return;
  }
  await requireConfirmation(
    flags,
    out,
    `Release ${unverified.join(', ')}, so that containerd may remove them?`,
  );
  const done = await withHeldRoot(root, 'repair', (held) => release(held, ids));
  await printRelease(flags, root, out, done, 'released');
}

async function printRelease(
  flags: Flags,
  root: string,
  out: Output,
  snapshots: readonly SnapshotId[],
  what: string,
): Promise<void> {
  const isDry = flags.dryRun === true;
  if (flags.json === true) await out.json('repair-release', { root, snapshots, dryRun: isDry });
  else if (snapshots.length === 0) await out.line('no unverified snapshots');
  else await out.line(`${what}: snapshots ${snapshots.join(', ')}`);
}

function idsOf(text: string): readonly number[] {
  return text.split(',').map((id) => {
    const value = parseWholeNumber('--release', id.trim());
    if (value === null || value === 0)
      throw new UsageError(`--release ${JSON.stringify(text)}: not a list of snapshot ids`);
    return value;
  });
}
