/** `stratalog repair`: says what is wrong with a log and what would be done, asks, and does it. */
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
import { refuseLive, withHeldRoot } from './held-root.js';
import { quoted, requireReached, wholeNumber } from '../args/moment.js';
import { printing, type Output } from '../terminal/print.js';
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
    .description(
      'mend a damaged log of a stopped daemon: shows what would be done and lost, asks, does it',
    )
    .option('--dry-run', 'only show what would be done')
    .option('-y, --yes', 'do not ask')
    .option('--from-directories', 'take directories without a history in, as unverified layers')
    .option('--end-at <position>', 'end the log before this event, though its bytes are good')
    .option('--release <ids>', 'let containerd remove snapshots that a repair took in: ids, or all')
    .option('--json', 'print a JSON object for the plan, and one for what was done')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText(
      'after',
      `
Nothing is deleted: what is taken out of the log stands in log/quarantine-… afterwards, byte for
byte. Directories of snapshots whose events are lost are set aside: only stratalog gc --delete
deletes them.

Examples:
  stratalog repair --root /var/lib/stratalog --dry-run
  stratalog repair --root /var/lib/stratalog --from-directories --yes

Exits 0 when the log is sound or was repaired, 3 when something is left that needs a person, or
with --dry-run when there is something to do, 4 while a daemon has the root open.
docs/recovery.md explains each finding.`,
    )
    .action((flags: Flags) => printing(flags, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const host = openHost({ root });
  try {
    await refuseLive(root);
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
  const look = () => planned(flags, root, host);
  const { plan } = await look();
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
  await agreed(flags, out, 'Repair the log as shown?');
  await locked(root, host, async () => {
    // Nobody is in the root now: what was shown is what is there, or it is shown again.
    const { plan: again, world } = await look();
    if (JSON.stringify(planFields(again)) !== JSON.stringify(planFields(plan))) {
      throw new Error(
        'the root has changed since the plan was shown; nothing was done. Run it again',
      );
    }
    const options = {
      ...{ root, disk: host.disk, clock: host.clock, uuid: randomUUID },
      fileSystems: world.fileSystems,
      writtenBy: `stratalog ${RELEASE}`,
      inspectDirectory: (id: SnapshotId) => inspectDirectory(host, id),
    };
    const done = await executeRepair(options, plan, world.evidence);
    await told(flags, root, host, out, done);
  });
  if (plan.needsPerson.length > 0) process.exitCode = EXIT.findings;
}

/** A repair that was stopped half-way is finished as it was planned. */
async function finish(
  flags: Flags,
  root: string,
  host: Host,
  out: Output,
  journal: RepairJournal,
): Promise<void> {
  const { quarantine, identity } = journal;
  const what = `a repair was begun and not finished: it is to be finished (epoch ${identity.epoch}, ${quarantine})`;
  if (flags.json === true) await out.json('repair-plan', { root, kind: 'unfinished', quarantine });
  else await out.line(what);
  if (flags.dryRun === true) {
    process.exitCode = EXIT.findings;
    return;
  }
  await agreed(flags, out, 'Finish it?');
  await locked(root, host, async () => {
    await finishJournal(host.disk, root, journal);
    await told(flags, root, host, out, { quarantine, ...identity });
  });
}

async function told(
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
    await out.line(`repaired: epoch ${epoch}; what was taken out is in log/${quarantine}`);
    await out.lines(left.map(({ kind, detail }) => `still there: ${kind}: ${detail}`));
    if (left.length === 0)
      await out.line('verified: the log is sound; stratalog inspect shows what a start will do');
  }
  if (left.length > 0) process.exitCode = EXIT.findings;
}

async function agreed(flags: Flags, out: Output, question: string): Promise<void> {
  if (flags.yes === true) return;
  await out.flush();
  await confirm(question, { undone: 'nothing was done', isForScript: flags.json === true });
}

async function locked(root: string, host: Host, work: () => Promise<void>): Promise<void> {
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
  const endAt = wholeNumber('--end-at', flags.endAt);
  const world = await readRepairPlan({
    ...{ disk: host.disk, root, directories: await idsIn(host) },
    ...(endAt !== null && { endAt }),
  });
  if (endAt !== null) requireReached(endAt, endOf(world));
  return { world, plan: planRepair(world, { fromDirectories: flags.fromDirectories === true }) };
}

/** Behind all that is there, also behind records that cannot be followed to. */
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

/** What cannot be read is not empty: a repair that cannot look at a directory says so and ends. */
async function unlessAbsent<Found>(look: Promise<Found>, whenAbsent: Found): Promise<Found> {
  try {
    return await look;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return whenAbsent;
    throw thrown;
  }
}

/** Looks first, and takes the root only to do what was confirmed. */
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
      `${quotedFlag}: ${setAside.join(', ')} is no snapshot, but a directory that is set aside; ` +
        `stratalog gc --delete ${setAside[0]} deletes it`,
    );
  }
  if (others.length > 0) {
    throw new UsageError(
      `${quotedFlag}: no repair took ${others.join(', ')} in as an unverified snapshot; ` +
        '`stratalog layers` lists snapshots',
    );
  }
  if (flags.dryRun === true || unverified.length === 0) {
    await printRelease(flags, root, out, unverified, 'would release');
    if (unverified.length > 0) process.exitCode = EXIT.findings;
    return;
  }
  await agreed(flags, out, `Release ${unverified.join(', ')}? containerd may remove them then.`);
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
  else if (snapshots.length === 0) await out.line('no snapshot is unverified');
  else await out.line(`${what}: snapshots ${snapshots.join(', ')}`);
}

function idsOf(text: string): readonly number[] {
  return text.split(',').map((id) => {
    const value = wholeNumber('--release', id.trim());
    if (value === null || value === 0)
      throw new UsageError(`--release ${JSON.stringify(text)}: not numbers of snapshots`);
    return value;
  });
}
