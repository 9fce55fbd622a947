/**
 * The layout of a layer store. It is defined in this file and in
 * docs/layer-store.md:
 *
 *     <store>/store.json                            format version and uuid
 *     <store>/sha256/<chain id hex>/manifest.json   what the layer is
 *     <store>/sha256/<chain id hex>/fs/             a directory layer, or
 *     <store>/sha256/<chain id hex>/layer.erofs     an EROFS image, or
 *     <store>/sha256/<chain id hex>/layer.squashfs  a squashfs image
 *     <store>/staging/<random>/                     an import in progress
 *     <store>/staging/<random>.lock                 held while its importer lives
 *
 * Names are built from checked digests and a closed set of formats, never from a manifest's text.
 */
import { join } from 'node:path';

import type { ChainId } from './digest.js';
import { hexOf } from './digest.js';

export const layerFormats = ['directory', 'erofs', 'squashfs'] as const;
export type LayerFormat = (typeof layerFormats)[number];

/** The name of the layer's content within the layer's directory. */
export const contentNames: Readonly<Record<LayerFormat, string>> = {
  directory: 'fs',
  erofs: 'layer.erofs',
  squashfs: 'layer.squashfs',
};

export const storeFormat = 'stratalog-layer-store';
export const storeVersion = 1;

export const storeFilePath = (store: string): string => join(store, 'store.json');
export const layersPath = (store: string): string => join(store, 'sha256');
export const stagingPath = (store: string): string => join(store, 'staging');
export const layerPath = (store: string, chainId: ChainId): string =>
  join(layersPath(store), hexOf(chainId));
export const manifestPath = (store: string, chainId: ChainId): string =>
  join(layerPath(store, chainId), 'manifest.json');
export const contentPath = (store: string, chainId: ChainId, format: LayerFormat): string =>
  join(layerPath(store, chainId), contentNames[format]);

/** The extended attribute on a layer's root that identifies the layer. */
export const identityAttribute = 'trusted.stratalog.layer';
