/** Who is measured: containerd's overlayfs behind the same service, and Stratalog in two settings. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { rm, statfs } from 'node:fs/promises';
import { run } from '../../scripts/rig/command.js';
import { Daemon } from '../../scripts/rig/daemon.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { answers } from './process.js';

export interface Candidate {
  readonly name: string;
  readonly make: (workspace: Workspace, name: string) => Daemon;
}

/** The programs that measuring needs, built. */
export interface Programs {
  readonly peer: string;
  readonly load: string;
}

const tmpfsType = 0x01021994;

/** The first is what the others are divided by. */
export function candidatesOf({ peer }: Programs): readonly [Candidate, ...Candidate[]] {
  return [
    { name: 'overlayfs', make: (workspace, name) => Daemon.peer(workspace, peer, name) },
    { name: 'stratalog metadata', make: stratalogWith('metadata') },
    { name: 'stratalog data', make: stratalogWith('data') },
  ];
}

function stratalogWith(durability: 'data' | 'metadata'): Candidate['make'] {
  return (workspace, name) =>
    Daemon.stratalog(workspace, { config: `durability = "${durability}"\n` }, name);
}

/** A workspace on a real disk, closed whatever happens in it. */
export async function inWorkspace<Value>(
  work: (workspace: Workspace) => Promise<Value>,
): Promise<Value> {
  const workspace = await Workspace.create('strata-bench-');
  try {
    const { type } = await statfs(workspace.directory);
    if (type === tmpfsType) throw new Error('TMPDIR lies in memory: nothing would reach a disk');
    await spreadDirectories(workspace.directory);
    return await work(workspace);
  } finally {
    await workspace.close();
  }
}

/**
 * For some minutes ext4 steps over each inode that was freed not long ago, one by one, whenever a
 * new one is made near it (recently_deleted in fs/ext4/ialloc.c). A thousand layers removed in one
 * turn would make every mkdir of the next turn slower, whoever's it is. With this flag the
 * directories made here lie far apart. Other file systems have no such flag, and need none.
 */
async function spreadDirectories(directory: string): Promise<void> {
  await run('chattr', ['+T', directory], { mayFail: true });
}

/**
 * One turn of each candidate after the other. Who comes first changes from turn to turn, so that
 * a disk that gets slower is nobody's disadvantage.
 */
export async function inTurns<Name, Value>(
  turns: number,
  candidates: readonly Name[],
  measure: (candidate: Name, turn: number) => Promise<Value>,
): Promise<ReadonlyMap<Name, readonly Value[]>> {
  const measured = new Map<Name, Value[]>(candidates.map((candidate) => [candidate, []]));
  for (let turn = 1; turn <= turns; turn += 1) {
    for (const candidate of turn % 2 === 1 ? candidates : candidates.toReversed()) {
      measured.get(candidate)?.push(await measure(candidate, turn));
    }
  }
  return measured;
}

export interface TimedStart {
  readonly pid: number;
  /** From the exec to the first answer on the socket. */
  readonly millis: number;
  /** SIGKILL: an orderly stop would write, and the next start would find another root. */
  kill(): Promise<void>;
}

const startMillisMax = 120_000;

/** Starts a program on a root that is there. */
export async function startTimed(
  workspace: Workspace,
  [program, ...words]: readonly [string, ...string[]],
  root: string,
): Promise<TimedStart> {
  workspace.assertOpen();
  const address = workspace.path('timed.sock');
  await rm(address, { force: true });
  const log = openSync(workspace.path('timed.log'), 'a');
  const began = performance.now();
  const child = spawn(program, [...words, '--root', root, '--address', address], {
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  workspace.onClose(kill);
  await answers(
    address,
    () => child.exitCode === null && child.signalCode === null,
    startMillisMax,
  );
  const millis = performance.now() - began;
  const { pid } = child;
  if (pid === undefined) throw new Error('the program was not started');
  return { pid, millis, kill };
}

export const addressOfTimed = (workspace: Workspace): string => workspace.path('timed.sock');

export function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}
