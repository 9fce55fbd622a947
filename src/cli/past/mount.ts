/**
 * `stratalog mount`: mounts a snapshot read-only, with its current layers or those of a moment, and
 * unmounts it on exit.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { refuseInRoot } from '../../api/root/root-path.js';
import { errnoOf, reasonOf, UsageError } from '../../base/errors.js';
import type { MountEntry } from '../../base/ports.js';
import { formatTime, type SnapshotId } from '../../base/units.js';
import { openHost, type Host } from '../../host/host.js';
import type { Archive, PastState } from '../../inspect/archive/archive.js';
import { mountChain, removalIn, type MountChain } from '../../inspect/snapshot/mount-chain.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import { summaryOf } from '../../inspect/events/summary.js';
import { snapshotsDirectory } from '../../log/files.js';
import { reportDamage } from '../args/archive-option.js';
import { mountForensically } from './forensic-mount.js';
import { resolveMoment, quoted } from '../args/moment.js';
import { visible, printNotice } from '../terminal/print.js';
import { NotInLog, resolveSnapshot } from '../args/subject-argument.js';
import { stdout } from '../terminal/result-writer.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly at?: string;
  readonly exec?: true;
}

export function mountCommand(): Command {
  return withRootOption(new Command('mount'))
    .description('mount a snapshot read-only, and unmount it on exit')
    .argument('<key|id|digest>', 'the snapshot')
    .argument('[target...]', 'empty directory to mount on (default: a new one); -- COMMAND')
    .option('--at <moment>', 'its layers at a position, a time, or a duration before now')
    .option('--exec', 'allow programs in it to be executed; they are untrusted')
    .addHelpText(
      'after',
      `
Examples:
  stratalog mount 12                              print the mountpoint; unmount on Ctrl-C or Ctrl-D
  stratalog mount default/7/web -- ls -l etc      run a command in the mount, then unmount
  stratalog mount 12 --at 3d -- tar c . > then.tar

The mount is ro,nodev,nosuid,noexec. It is unmounted on SIGINT, SIGTERM, at the end of standard
input, or when the command exits; after a SIGKILL a guard process unmounts it. STRATALOG_MOUNT is the
mountpoint in the environment of the command. With --at, the log determines the layers, but the files
in them are the current ones.
Exits with the code of the command, else 0; 1 if no snapshot matches, or its directory is missing.`,
    )
    .action((text: string, _rest: readonly string[], flags: Flags, command: Command) =>
      run(text, flags, command),
    );
}

async function run(text: string, flags: Flags, command: Command): Promise<void> {
  if (process.geteuid?.() !== 0) throw new UsageError('mounting requires root privileges');
  const { target: named, words } = wordsOf(command);
  const target = named === null ? null : await emptyDirectory(named);
  // The mount table has real paths.
  const root = await realpath(await rootOf(flags));
  const host = openHost({ root });
  try {
    const archive = new RootArchive(host.disk, root, { onDamage: reportDamage });
    const at = await resolveMoment(archive, '--at', flags.at, host.clock.now());
    const chain = await chainFor(text, await archive.stateAt(at), archive);
    const snapshots = snapshotsDirectory(root);
    await refuseMissing(chain, snapshots, archive, host);
    warn(chain, snapshots, await host.mountTable.read(), flags.at !== undefined);
    const mount = await mountForensically(
      {
        snapshots,
        layers: chain.layers.map(({ id }) => `${id}/fs`),
        target,
        mayExecute: flags.exec === true,
      },
      host.mountTable,
    );
    try {
      if (words.length === 0) await untilInterrupted(mount.path);
      else process.exitCode = await runIn(mount.path, words);
    } finally {
      const { wasBusy } = await mount.undo();
      if (wasBusy) printNotice('mount is busy; it goes away when the last process leaves it');
    }
  } finally {
    await host.close();
  }
}

/** Returns the real path: the mount table has real paths, and a link would stay mounted. */
async function emptyDirectory(path: string): Promise<string> {
  let entries: readonly string[];
  try {
    entries = await readdir(path);
  } catch (cause) {
    throw new UsageError(`cannot mount on ${quoted(path)}: ${reasonOf(cause)}`, { cause });
  }
  if (entries.length > 0) {
    throw new UsageError(`cannot mount on ${quoted(path)}: directory is not empty`);
  }
  const real = await realpath(path);
  await refuseInRoot(real);
  return real;
}

/** The target before `--` and the command after it; commander joins them. */
function wordsOf(command: Command): { target: string | null; words: readonly string[] } {
  const raw = process.argv;
  const split = raw.indexOf('--');
  const words = split === -1 ? [] : raw.slice(split + 1);
  const [target, more] = command.args.slice(1, command.args.length - words.length);
  if (more !== undefined) {
    throw new UsageError(`unexpected argument ${quoted(more)}: put a command after --`);
  }
  return { target: target === undefined ? null : resolve(target), words };
}

async function chainFor(text: string, state: PastState, archive: Archive): Promise<MountChain> {
  const past = () => Promise.resolve(state);
  const query = { text, at: state.position, past, mustExist: true } as const;
  const id = await resolveSnapshot(archive, query);
  const chain = mountChain(state.forest, id);
  if (chain !== null) return chain;
  throw new NotInLog(
    `cannot mount ${quoted(text)}: it is being prepared or removed at position ${state.position}; ` +
      `run \`stratalog history ${id}\``,
  );
}

/** @throws Error with the first missing directory and the event that removed it. */
async function refuseMissing(
  { layers }: MountChain,
  snapshots: string,
  archive: Archive,
  host: Host,
): Promise<void> {
  const mounted = new Set((await host.mountTable.read()).map(({ mountpoint }) => mountpoint));
  for (const { id, name, remote } of layers) {
    const path = `${snapshots}/${id}/fs`;
    if (!(await isDirectory(path))) {
      throw new Error(
        `cannot mount layer ${visible(name)}: ${path} does not exist: ${await removalText(id, archive)}`,
      );
    }
    if (remote !== null && !mounted.has(path)) {
      throw new Error(
        `cannot mount remote layer ${visible(name)}: ${path} is not mounted; ` +
          'run `stratalog layers --unavailable`',
      );
    }
  }
}

async function removalText(id: SnapshotId, archive: Archive): Promise<string> {
  const removal = removalIn(await archive.historyOf(id));
  if (removal === null) return 'no event removed it; run `stratalog inspect`';
  const what = visible(`${removal.type} ${summaryOf(removal)}`.trim());
  return `${what}, at position ${removal.position}, ${formatTime(removal.time)}`;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return false;
    throw thrown;
  }
}

function warn(
  { state, layers }: MountChain,
  snapshots: string,
  mounts: readonly MountEntry[],
  isPast: boolean,
): void {
  if (isPast) printNotice('the layers are those of the past, but their files are the current ones');
  if (layers[0] !== state || state.status.startsWith('committed')) return;
  const upper = `upperdir=${snapshots}/${state.id}/fs`;
  if (mounts.some(({ superOptions }) => superOptions.includes(upper))) {
    printNotice(
      'warning: snapshot is in use; concurrent writes may be visible in part or not at all',
    );
  }
}

/** Waits for a signal or the end of standard input. */
async function untilInterrupted(path: string): Promise<void> {
  // Listens before it prints: the reader of the path may interrupt at once.
  const ended = new Promise<void>((settle) => {
    const end = (): void => settle();
    process.once('SIGINT', end).once('SIGTERM', end).once('SIGHUP', end);
    process.stdin.once('end', end).once('error', end).resume();
  });
  try {
    await stdout.write(`${path}\n`);
    await ended;
  } finally {
    process.stdin.pause();
  }
}

/** Runs a command in the mount and returns its exit code as a shell would. */
async function runIn(path: string, [program = '', ...args]: readonly string[]): Promise<number> {
  const env = { ...process.env, STRATALOG_MOUNT: path };
  const child = spawn(program, args, { cwd: path, env, stdio: 'inherit' });
  // The terminal sends SIGINT to both processes; the child handles it.
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  const ignore = (): void => undefined;
  process.on('SIGINT', ignore).on('SIGTERM', forward).on('SIGHUP', forward);
  try {
    return await new Promise<number>((settle, reject) => {
      child.once('error', (fault) => {
        reject(new Error(`cannot run ${quoted(program)}: ${fault.message}`, { cause: fault }));
      });
      child.once('close', (code, signal) => {
        settle(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', forward).off('SIGHUP', forward);
  }
}
