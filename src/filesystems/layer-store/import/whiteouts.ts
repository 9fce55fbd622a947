/**
 * Whiteouts in a layer's archive hide files of the layers below (image-spec, layer.md), as
 * containerd unpacks them: `.wh.NAME` hides NAME, `.wh..wh..opq` hides all that is below its
 * directory. Every name with the prefix is one of the two, aufs' own files included.
 */
import type { ByteString } from '../../../tar/byte-string.js';
import { LayerTarInvalid } from './rooted-tree.js';

const prefix = '.wh.';
const opaqueMarker = '.wh..wh..opq';

/** Of a directory that hides the one below it (kernel, overlayfs.rst). */
export const opaqueAttribute = 'trusted.overlay.opaque';

export type Whiteout =
  /** `hidden` is a name in the directory of the whiteout. */
  { readonly kind: 'name'; readonly hidden: ByteString } | { readonly kind: 'opaque' };

/**
 * The whiteout that an entry is by the last component of its name; null for any other entry.
 *
 * Fails  LayerTarInvalid for a whiteout of nothing, of `.` or of `..`
 */
export function whiteoutOf(base: ByteString): Whiteout | null {
  if (base === opaqueMarker) return { kind: 'opaque' };
  if (!base.startsWith(prefix)) return null;
  const hidden = base.slice(prefix.length);
  if (hidden === '' || hidden === '.' || hidden === '..') {
    throw new LayerTarInvalid('it is a whiteout of no name');
  }
  return { kind: 'name', hidden };
}

/** Attributes that no archive sets: they steer overlay, or are how a store knows its layers. */
export const isTrusted = (name: ByteString): boolean => name.startsWith('trusted.');
