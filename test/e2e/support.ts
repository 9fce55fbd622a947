/** What the end-to-end tests share: a rig with the chosen snapshotter. */
import { Daemon, patientLimits, stratalog } from '../../scripts/rig/daemon.js';
import { buildGo } from '../../scripts/rig/go-programs.js';
import { type Image, writeLayout } from '../../scripts/rig/image.js';
import { Rig, type RigOptions } from '../../scripts/rig/rig.js';
import { until } from '../../scripts/rig/wait.js';
import type { Workspace } from '../../scripts/rig/workspace.js';

/**
 * STRATALOG_RIG_PEER=1 puts containerd's overlayfs snapshotter in Stratalog's place. What fails
 * then too is a fault of the rig or the machine; tests of what only Stratalog does are skipped.
 */
export const againstPeer = process.env['STRATALOG_RIG_PEER'] === '1';

/** For `beforeAll`: Go programs may have to be built first. */
export const startLimitMillis = 300_000;

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  if (!againstPeer) {
    return Rig.start({ ...options, config: `${options.config ?? ''}${patientLimits}` });
  }
  const binary = await buildGo('program', 'test/bench/go');
  return Rig.start({ ...options, snapshotter: (workspace) => Daemon.peer(workspace, binary) });
}

/** Imports an image's layers into a new layer store below the workspace, and answers where it is. */
export async function layerStoreOf(
  image: Image,
  format: string,
  workspace: Workspace,
): Promise<string> {
  const layerStore = workspace.makeDirectory('layers');
  const layout = workspace.makeDirectory('layout');
  await writeLayout(image, layout, 'v1');
  const imported = await stratalog(
    ...['layer', 'import', '--layer-store', layerStore, '--format', format, `oci:${layout}:v1`],
  );
  if (imported.exitCode !== 0) throw new Error(imported.stderr);
  return layerStore;
}

/** containerd waits up to 3 s before it connects again to a snapshotter that was gone. */
export function connectedAgain<T>(work: () => Promise<T>): Promise<T> {
  return until('containerd has connected again', async () => ({ value: await work() }), {
    timeoutMillis: 60_000,
    pauseMillis: 200,
  }).then(({ value }) => value);
}
