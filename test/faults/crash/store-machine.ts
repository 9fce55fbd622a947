/**
 * A computer on which layers are imported into a store, by one process after the other. The
 * store, its mounts and the images are real; a book of what was not synced stands for its disk.
 */
import * as fs from 'node:fs';
import type { ChainId } from '../../../src/filesystems/layer-store/digest.js';
import { chainIdsOf, digestOf } from '../../../src/filesystems/layer-store/digest.js';
import { importLayers } from '../../../src/filesystems/layer-store/import/import-image.js';
import type { LayerSource } from '../../../src/filesystems/layer-store/import/import-layer.js';
import type { LayerFormat } from '../../../src/filesystems/layer-store/layout.js';
import { unmount } from '../../../src/host/mounts/mount-jobs.js';
import { systemMountTable } from '../../../src/host/mounts/mounts.js';
import { mountpointsBelow } from '../../support/daemon.js';
import type { Gate } from './gate.js';
import { listing, placeOfAll } from './machine.js';
import { jobsInProcess } from './ports.js';
import { RealTree } from './real-tree.js';
import { allAtGate, closeFilesBelow } from './system-calls.js';

/** The layers of an image, bottom up, out of their tars. */
export function sourcesOf(tars: readonly Buffer[]): readonly LayerSource[] {
  const diffIds = tars.map((tar) => digestOf(tar));
  const chainIds = chainIdsOf(diffIds);
  return tars.map((tar, index) => {
    const [chainId, diffId] = [chainIds[index], diffIds[index]];
    if (chainId === undefined || diffId === undefined) throw new Error('a tar has its digests');
    const open = async function* () {
      yield await Promise.resolve(tar);
    };
    const parentChainId = chainIds[index - 1] ?? null;
    const description = `layer ${index}`;
    return { description, chainId, parentChainId, diffId, blob: null, open, repeatable: true };
  });
}

export class StoreMachine {
  readonly base = `${placeOfAll()}/store-machine`;
  readonly store = `${this.base}/store`;
  readonly tree = new RealTree();
  /** What imports were heard to say that they have done. */
  readonly acknowledged = new Set<ChainId>();
  readonly warnings: string[] = [];

  constructor() {
    fs.mkdirSync(this.base);
  }

  async import(
    gate: Gate,
    sources: readonly LayerSource[],
    how: { readonly format: LayerFormat; readonly force: boolean },
  ): Promise<'died' | 'ended'> {
    const imports = importLayers(this.store, sources, {
      ...how,
      tarBytesMax: 1024 ** 3,
      entriesMax: 1000,
      release: 'test',
      mountTable: systemMountTable(jobsInProcess(gate, this.tree)),
      now: () => new Date(1_700_000_000_000),
      warn: (message) => void this.warnings.push(message),
      progress: () => undefined,
      signal: new AbortController().signal,
    });
    const outcome = await allAtGate({ gate, tree: this.tree }, async () => {
      for await (const { chainId } of imports) {
        gate.passNow('before the reply of the import');
        this.acknowledged.add(chainId);
        gate.passNow('after the reply of the import');
      }
    });
    if (outcome !== 'died') return 'ended';
    closeFilesBelow(this.base);
    return 'died';
  }

  powerCut(draw: () => number): void {
    this.#unmountAll();
    this.tree.powerCut(draw);
  }

  mountpoints(): string[] {
    return mountpointsBelow(this.base);
  }

  /** Every name in the store, names that were drawn at random made equal. */
  listing(): readonly string[] {
    const closed = new Set(this.mountpoints().map((each) => each.slice(this.store.length + 1)));
    return listing(this.store, closed).map((line) => line.replace(/\b[0-9a-f]{12,16}\b/g, 'X'));
  }

  digest(): string {
    return JSON.stringify([
      [...this.acknowledged],
      this.listing(),
      this.mountpoints().length,
      this.tree.pending().map((line) => line.replace(/\b[0-9a-f]{12,16}\b/g, 'X')),
    ]);
  }

  remove(): void {
    this.#unmountAll();
    fs.rmSync(this.base, { recursive: true, force: true });
  }

  #unmountAll(): void {
    for (const mountpoint of this.mountpoints().reverse()) unmount({ mountpoint, detach: true });
  }
}
