/**
 * Imports all layers of a source into a store, bottom up. What a layer below looks like matters to
 * the next, so they go one after the other.
 */
import type { ChainId } from '../digest.js';
import type { ImportOptions, ImportOutcome, LayerSource } from './import-layer.js';
import { importLayer } from './import-layer.js';
import { openOrMakeStore, sweepStaging } from '../store-directory.js';

export interface ImportedLayer {
  readonly chainId: ChainId;
  readonly outcome: ImportOutcome;
}

/**
 * Imports layers one by one, each whole or not at all. Answers as each is done.
 *
 * Fails  as importLayer; layers before the failing one stay imported.
 */
export async function* importLayers(
  directory: string,
  sources: readonly LayerSource[],
  options: ImportOptions,
): AsyncGenerator<ImportedLayer> {
  const store = openOrMakeStore(directory);
  const swept = await sweepStaging(store, options.mountTable);
  if (swept > 0) options.warn(`removed what ${swept} unfinished import(s) had left in staging`);
  for (const source of sources) {
    options.signal.throwIfAborted();
    yield { chainId: source.chainId, outcome: await importLayer(store, source, options) };
  }
}
