/** A layer store with a few small directory layers, and the order in which they can be asked for. */
import {
  chainIdOn,
  type ChainId,
  fromHex,
  hexOf,
  isDigest,
} from '../../src/filesystems/layer-store/digest.js';
import { importLayer } from '../../src/filesystems/layer-store/import/import-layer.js';
import { openOrMakeStore } from '../../src/filesystems/layer-store/store-directory.js';
import type { LayerFormat } from '../../src/filesystems/layer-store/layout.js';
import { openHost } from '../../src/host/host.js';
import { layerOf } from '../../scripts/rig/layer.js';
import type { RemoteTarget } from './load.js';

const noLimit = Number.MAX_SAFE_INTEGER;

/** `depths[n]` layers on top of each other in the n-th chain. */
export async function makeLayerStore(
  directory: string,
  depths: readonly number[],
  format: LayerFormat = 'directory',
): Promise<RemoteTarget[]> {
  const store = openOrMakeStore(directory);
  const host = openHost({ root: directory });
  const targets: RemoteTarget[] = [];
  try {
    for (const [chain, depth] of depths.entries()) {
      let parent: ChainId | null = null;
      for (let level = 0; level < depth; level += 1) {
        const content = `layer ${level} of chain ${chain}\n`;
        const layer = layerOf([{ kind: 'file', path: `file-${level}`, content }]);
        const diffId = isDigest(layer.diffId) ? layer.diffId : fromHex('');
        const chainId: ChainId = chainIdOn(parent, diffId);
        const source = {
          description: `layer ${hexOf(chainId)}`,
          chainId,
          parentChainId: parent,
          diffId,
          blob: null,
          open: () => chunks(layer.gzipped),
          repeatable: true,
        };
        await importLayer(store, source, {
          format,
          force: false,
          tarBytesMax: noLimit,
          entriesMax: noLimit,
          release: 'test',
          mountTable: host.mountTable,
          now: () => new Date(),
          warn: () => undefined,
          progress: () => undefined,
          signal: new AbortController().signal,
        });
        targets.push({ chainId, parent: parent ?? '' });
        parent = chainId;
      }
    }
  } finally {
    await host.close();
  }
  return targets;
}

async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  yield await Promise.resolve(bytes);
}
