/**
 * The three ways a layer becomes visible, all read-only. Nothing is followed by `nosuid` or
 * `nodev`: a view of a one-layer image is a bind of this mount, and would inherit them.
 */
import { errnoOf, reasonOf } from '../../base/errors.js';
import type { MountRequest, MountTable } from '../../base/ports.js';
import type { LayerManifest } from './manifest.js';

/**
 * Errors of the kernel if it cannot mount EROFS from a file: built without it or older than 6.12
 * (ENOTBLK), or not supported by the file system of the image (the others).
 */
const notFileBacked = new Set(['ENOTBLK', 'EOPNOTSUPP', 'EINVAL']);

/**
 * Mounts a layer's content at an empty mountpoint. On failure nothing is mounted.
 *
 * @throws HostFault of mount(2); an Error with a hint if the kernel does not know the format
 */
export async function showLayer(
  manifest: LayerManifest,
  content: string,
  mountpoint: string,
  host: { readonly mountTable: MountTable },
  signal: AbortSignal,
): Promise<void> {
  const { mountTable } = host;
  const request = (type: string, options: readonly string[]): MountRequest => ({
    type,
    source: content,
    mountpoint,
    options,
  });
  try {
    switch (manifest.format) {
      case 'directory':
        await mountTable.mount(request('none', ['bind', 'ro']), signal);
        return;
      case 'squashfs':
        await mountTable.mount(request('squashfs', ['ro', 'loop']), signal);
        return;
      case 'erofs':
        await mountErofs(request, mountTable, signal);
        return;
    }
  } catch (thrown) {
    if (errnoOf(thrown) !== 'ENODEV') throw thrown;
    throw new Error(
      `this kernel cannot mount ${manifest.format} (modprobe ${manifest.format} may help): ${reasonOf(thrown)}`,
      { cause: thrown },
    );
  }
}

async function mountErofs(
  request: (type: string, options: readonly string[]) => MountRequest,
  mountTable: MountTable,
  signal: AbortSignal,
): Promise<void> {
  try {
    await mountTable.mount(request('erofs', ['ro']), signal);
  } catch (thrown) {
    if (!notFileBacked.has(errnoOf(thrown) ?? '')) throw thrown;
    await mountTable.mount(request('erofs', ['ro', 'loop']), signal);
  }
}
