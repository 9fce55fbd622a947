/** Pulls as the kubelet and nerdctl do: containerd asks the snapshotter before it fetches a layer. */
import { run } from './command.js';
import { buildGo } from './go-programs.js';
import type { Rig } from './rig.js';

/**
 * `ctr` does so from 2.x on, through the transfer service; that of 1.x fetches all blobs first,
 * so a Go program stands in for it.
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
