/**
 * Whether a layer in a store is whole, without mounting it: quickly by what its files look like,
 * or wholly by reading an image's every byte. For the importer and `layer ls`; the daemon's own
 * check is in layer-store.ts and uses the same rules.
 */
import { createHash } from 'node:crypto';
import { createReadStream, lstatSync } from 'node:fs';

import { errnoOf, reasonOf } from '../../base/errors.js';
import type { MountEntry, MountTable } from '../../base/ports.js';
import type { ChainId, Digest } from './digest.js';
import { fromHex } from './digest.js';
import { observe, readManifest, type Observation } from './layer-jobs.js';
import { contentPath, layerPath, manifestPath, storeFilePath } from './layout.js';
import type { LayerManifest } from './manifest.js';
import { parseManifest } from './manifest.js';
import { contentFault } from './layer-check.js';

export type LayerCondition =
  | { readonly state: 'absent' }
  | { readonly state: 'good'; readonly manifest: LayerManifest }
  /** `manifest` is null when it is the manifest that cannot be read. */
  | { readonly state: 'damaged'; readonly fault: string; readonly manifest: LayerManifest | null }
  /** The layer cannot be read now, so its state is unknown. */
  | { readonly state: 'unread'; readonly fault: string; readonly manifest: LayerManifest | null };

/** A layer's manifest; null when the store does not have the layer. */
export function readLayer(store: string, chainId: ChainId): LayerManifest | null {
  const path = manifestPath(store, chainId);
  const found = readManifest({ path });
  return found === null ? null : parseManifest(found.text, chainId, path);
}

/** Looks at the manifest, the content's kind, size and identity. Never throws for a bad layer. */
export function quickCheck(store: string, chainId: ChainId): LayerCondition {
  const path = layerPath(store, chainId);
  const kind = lstatSync(path, { throwIfNoEntry: false });
  if (kind === undefined) return { state: 'absent' };
  const damaged = (fault: string, manifest: LayerManifest | null): LayerCondition => {
    return { state: 'damaged', fault, manifest };
  };
  if (!kind.isDirectory()) return damaged(`${path} is not a directory`, null);
  let manifest: LayerManifest | null;
  try {
    manifest = readLayer(store, chainId);
  } catch (thrown) {
    return failed(thrown, null);
  }
  if (manifest === null) return damaged(`${path} has no manifest.json`, null);
  const content = contentPath(store, chainId, manifest.format);
  let seen: Observation;
  try {
    seen = observe({
      storeFile: storeFilePath(store),
      manifest: manifestPath(store, chainId),
      content,
      mountpoint: content,
    });
  } catch (thrown) {
    return failed(thrown, manifest);
  }
  const fault = contentFault(manifest, seen, { store, content, mountpoint: content });
  return fault === null ? { state: 'good', manifest } : damaged(fault, manifest);
}

/** A symlink or a file in the place of a directory is damage; other errnos are of the system. */
function failed(thrown: unknown, manifest: LayerManifest | null): LayerCondition {
  const code = errnoOf(thrown);
  const isOfLayer = code === undefined || code === 'ELOOP' || code === 'ENOTDIR';
  return { state: isOfLayer ? 'damaged' : 'unread', fault: reasonOf(thrown), manifest };
}

/** The quick check, and for an image its sha256 too. */
export async function fullCheck(store: string, chainId: ChainId): Promise<LayerCondition> {
  const quick = quickCheck(store, chainId);
  if (quick.state !== 'good' || quick.manifest.format === 'directory') return quick;
  const { manifest } = quick;
  const content = contentPath(store, chainId, quick.manifest.format);
  try {
    const found = await digestOfFile(content);
    if (found === quick.manifest.image.sha256) return quick;
    const fault = `the image ${content} has digest ${found}, expected ${quick.manifest.image.sha256} as in its manifest`;
    return { state: 'damaged', fault, manifest };
  } catch (thrown) {
    if (errnoOf(thrown) === undefined) throw thrown;
    return failed(thrown, manifest);
  }
}

export async function digestOfFile(path: string): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return fromHex(hash.digest('hex'));
}

/** Mounts in this namespace that show something of a layer's directory. */
export async function mountsOf(
  layer: string,
  mountTable: MountTable,
): Promise<readonly MountEntry[]> {
  const stats = lstatSync(layer, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined) return [];
  const suffix = layer.split('/').slice(-2).join('/');
  return (await mountTable.read()).filter(
    (entry) => entry.source.startsWith(`${layer}/`) || entry.root.endsWith(`/${suffix}/fs`),
  );
}
