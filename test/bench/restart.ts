/**
 * What a crash costs a client: the time until the server's first frame, which grpc-go waits for at
 * most a second, and until a call is answered. The daemon is run as packaging/ has it run, on an
 * empty root and on one that has to be replayed from its beginning.
 */
import { rm } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ActivatedDaemon } from '../../scripts/rig/activated-daemon.js';
import { Daemon } from '../../scripts/rig/daemon.js';
import { answerOf, firstFrame } from '../../scripts/rig/first-answer.js';
import { inWorkspace, say } from './candidates.js';
import { populateStratalog } from './populate.js';
import { rowOf, type Row } from './report.js';

const statPath = '/containerd.services.snapshots.v1.Snapshots/Stat';
const snapshots = 1_000;
/** Calm after a startup, so that its own work is no part of the next measurement. */
const settleMillis = 1_500;
const ownName = 'stratalog data';

interface Restart {
  readonly execToFrame: number;
  readonly killToFrame: number;
  readonly killToAnswer: number;
}

/** @param replayed events that each startup replays on the second root */
export async function measureRestarts(crashes: number, replayed: number): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const events of [0, replayed]) {
    rows.push(...(await measureOne(crashes, events)));
  }
  return rows;
}

function measureOne(crashes: number, events: number): Promise<readonly Row[]> {
  return inWorkspace(async (workspace) => {
    const { root, serveCommand } = Daemon.stratalog(workspace);
    if (events > 0) {
      say(`making ${events} events`);
      await populateStratalog(root, { snapshots, events, directories: true });
    }
    const daemon = new ActivatedDaemon({ workspace, command: serveCommand, root });
    daemon.start();
    await daemon.serving();
    const restarts: Restart[] = [];
    for (let crash = 1; crash <= crashes; crash += 1) {
      say(`crash ${crash} with ${events} events to replay`);
      await sleep(settleMillis);
      if (events > 0) await removeCheckpoints(root);
      restarts.push(await restartOf(daemon));
    }
    await daemon.close();
    const row = (what: string, read: keyof Restart, limit: string | null) =>
      rowOf(
        `${what}, ${events} events to replay, ms`,
        new Map([[ownName, restarts.map((restart) => restart[read])]]),
        limit,
      );
    return [
      row('exec to the first frame', 'execToFrame', '300'),
      row('SIGKILL to the first frame', 'killToFrame', '700'),
      row('SIGKILL to the first answer', 'killToAnswer', null),
    ];
  });
}

/** A client connects at once, as containerd does. */
async function restartOf(daemon: ActivatedDaemon): Promise<Restart> {
  const killed = performance.now();
  await daemon.crash();
  const answered = answerOf(daemon.address, statPath).then(() => performance.now() - killed);
  await firstFrame(daemon.address);
  const framed = performance.now();
  return {
    execToFrame: framed - daemon.startedAt,
    killToFrame: framed - killed,
    killToAnswer: await answered,
  };
}

async function removeCheckpoints(root: string): Promise<void> {
  for (const name of readdirSync(`${root}/log`)) {
    if (name.endsWith('.checkpoint')) await rm(`${root}/log/${name}`);
  }
}
