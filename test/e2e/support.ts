/** What the end-to-end tests share: a rig with the chosen snapshotter, and pulls as CRI makes them. */
import { run } from '../../scripts/rig/command.js';
import { Daemon, type DaemonOptions } from '../../scripts/rig/daemon.js';
import { buildGo } from '../../scripts/rig/go-programs.js';
import { Rig } from '../../scripts/rig/rig.js';
import { until } from '../../scripts/rig/wait.js';

/**
 * STRATALOG_RIG_PEER=1 puts containerd's overlayfs snapshotter in Stratalog's place. What fails
 * then too is a fault of the rig or the machine; tests of what only Stratalog does are skipped.
 */
export const againstPeer = process.env['STRATALOG_RIG_PEER'] === '1';

/** For `beforeAll`: Go programs may have to be built first. */
export const startLimitMillis = 300_000;

export async function startRig(options: DaemonOptions = {}): Promise<Rig> {
  if (!againstPeer) return Rig.start(options);
  const binary = await buildGo('program', 'test/bench/go');
  return Rig.start({ snapshotter: (workspace) => Daemon.peer(workspace, binary) });
}

/**
 * Pulls so that the snapshotter is asked for each layer before its blob is fetched, as CRI and
 * nerdctl do. `ctr` does the same from 2.x on, through the transfer service; that of 1.x fetches
 * all blobs first, so a Go program stands in for it.
 */
export async function pullByLayers(
  rig: Rig,
  reference: string,
  namespace = 'default',
): Promise<void> {
  if (rig.containerd.major > 1) {
    await rig.ctr.inNamespace(namespace).pull(reference);
    return;
  }
  const puller = await buildGo('program', 'test/e2e/go');
  await run(puller, ['-containerd', rig.containerd.address, '-namespace', namespace, reference], {
    timeoutMillis: 150_000,
  });
}

/** containerd waits up to 3 s before it connects again to a snapshotter that was gone. */
export function connectedAgain<T>(work: () => Promise<T>): Promise<T> {
  return until('containerd has connected again', async () => ({ value: await work() }), {
    timeoutMillis: 20_000,
    pauseMillis: 200,
  }).then(({ value }) => value);
}
