/**
 * `stratalog mount`: shows a snapshot read-only, as it is or as its chain was at a moment, and
 * takes the mount away again when it ends.
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
import { tellDamage } from '../args/archive-option.js';
import { mountForensically } from './forensic-mount.js';
import { momentOf, quoted } from '../args/moment.js';
import { visible, say } from '../terminal/print.js';
import { NotInLog, snapshotMeant } from '../args/subject-argument.js';
import { stdout } from '../terminal/result-writer.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly at?: string;
  readonly exec?: true;
}

export function mountCommand(): Command {
  return withRootOption(new Command('mount'))
    .description('mount a snapshot read-only for a look into it, and take it away again on exit')
    .argument('<key|id|digest>', 'which snapshot')
    .argument('[target...]', 'an empty directory to mount on (default: a new one); -- COMMAND')
    .option('--at <moment>', 'its layers as they were at a position, a time, or so long ago')
    .option('--exec', "let programs in it be started: they are strangers'")
    .addHelpText(
      'after',
      `
Examples:
  stratalog mount 12                              prints where; ends with Ctrl-C or Ctrl-D
  stratalog mount default/7/web -- ls -l etc      runs a command in it, and ends with it
  stratalog mount 12 --at 3d -- tar c . > then.tar

The mount is ro,nodev,nosuid,noexec. It ends with SIGINT, SIGTERM, the end of standard input, or
of the command; STRATALOG_MOUNT tells the command where it is. With --at the log says which layers
there were; the files in them are those of today. After a SIGKILL a guard takes the mount away.
Exits as the command does, else 0; 1 when there is no such snapshot, or a directory of it is gone.`,
    )
    .action((text: string, _rest: readonly string[], flags: Flags, command: Command) =>
      run(text, flags, command),
    );
}

async function run(text: string, flags: Flags, command: Command): Promise<void> {
  if (process.geteuid?.() !== 0) throw new UsageError('only root may mount: run it as root');
  const { target: named, words } = wordsOf(command);
  const target = named === null ? null : await emptyDirectory(named);
  // A link in its path would not be found in the mount table.
  const root = await realpath(await rootOf(flags));
  const host = openHost({ root });
  try {
    const archive = new RootArchive(host.disk, root, { onDamage: tellDamage });
    const at = await momentOf(archive, '--at', flags.at, host.clock.now());
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
      if (words.length === 0) await untilTold(mount.path);
      else process.exitCode = await runIn(mount.path, words);
    } finally {
      const { wasBusy } = await mount.undo();
      if (wasBusy) say('somebody is still inside; the mount goes with its last user');
    }
  } finally {
    await host.close();
  }
}

/** Its real path: a link would not be found in the mount table, and the mount would stay. */
async function emptyDirectory(path: string): Promise<string> {
  let entries: readonly string[];
  try {
    entries = await readdir(path);
  } catch (cause) {
    throw new UsageError(`${quoted(path)} is no place to mount on: ${reasonOf(cause)}`, { cause });
  }
  if (entries.length > 0) {
    throw new UsageError(`${quoted(path)} is not empty: name an empty directory to mount on`);
  }
  const real = await realpath(path);
  await refuseInRoot(real);
  return real;
}

/** What stands before `--` and behind it; commander joins them. */
function wordsOf(command: Command): { target: string | null; words: readonly string[] } {
  const raw = process.argv;
  const split = raw.indexOf('--');
  const words = split === -1 ? [] : raw.slice(split + 1);
  const [target, more] = command.args.slice(1, command.args.length - words.length);
  if (more !== undefined) {
    throw new UsageError(`${quoted(more)}: one target at most; a command comes behind --`);
  }
  return { target: target === undefined ? null : resolve(target), words };
}

async function chainFor(text: string, then: PastState, archive: Archive): Promise<MountChain> {
  const past = () => Promise.resolve(then);
  const query = { text, at: then.position, past, mustBeThere: true } as const;
  const id = await snapshotMeant(archive, query);
  const chain = mountChain(then.forest, id);
  if (chain !== null) return chain;
  throw new NotInLog(
    `${quoted(text)}: at position ${then.position} it is only being made or removed; ` +
      `\`stratalog history ${id}\` tells when`,
  );
}

/** @throws Error that names the first directory that cannot be shown, and what has removed it. */
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
        `${path} of layer ${visible(name)} is gone: ${await whoRemoved(id, archive)}`,
      );
    }
    if (remote !== null && !mounted.has(path)) {
      throw new Error(
        `${path} of the remote layer ${visible(name)} is not mounted; ` +
          '`stratalog layers --unavailable` may say why',
      );
    }
  }
}

async function whoRemoved(id: SnapshotId, archive: Archive): Promise<string> {
  const removal = removalIn(await archive.historyOf(id));
  if (removal === null) return 'no event of the log removed it; `stratalog inspect` tells more';
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
  if (isPast) say('the layers are those of then, the files in them are those of today');
  if (layers[0] !== state || state.status.startsWith('committed')) return;
  const upper = `upperdir=${snapshots}/${state.id}/fs`;
  if (mounts.some(({ superOptions }) => superOptions.includes(upper))) {
    say('warning: it is in use; what is written to it meanwhile may be seen half or not at all');
  }
}

/** Until a signal, or the end of standard input. */
async function untilTold(path: string): Promise<void> {
  // Listens first: who reads the path may end it at once.
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

/** Runs a command in the mount; answers its exit code as a shell would. */
async function runIn(path: string, [program = '', ...args]: readonly string[]): Promise<number> {
  const env = { ...process.env, STRATALOG_MOUNT: path };
  const child = spawn(program, args, { cwd: path, env, stdio: 'inherit' });
  // The terminal sends its own to both; the child decides.
  const hand = (signal: NodeJS.Signals): void => void child.kill(signal);
  const ignore = (): void => undefined;
  process.on('SIGINT', ignore).on('SIGTERM', hand).on('SIGHUP', hand);
  try {
    return await new Promise<number>((settle, reject) => {
      child.once('error', (fault) => {
        reject(new Error(`${quoted(program)} cannot be run: ${fault.message}`, { cause: fault }));
      });
      child.once('close', (code, signal) => {
        settle(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', hand).off('SIGHUP', hand);
  }
}
