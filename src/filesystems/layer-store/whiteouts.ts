/**
 * How a layer's archive says "gone", and how overlay wants to hear it.
 *
 * In the archive (image-spec, layer.md): `.wh.NAME` hides NAME of the layers below, and
 * `.wh..wh..opq` hides everything below its directory. Both are about *lower* layers only: an
 * entry of the same layer is kept, whichever comes first. On disk (kernel, overlayfs.rst): a
 * character device 0:0 called NAME, and `trusted.overlay.opaque=y` on the directory.
 */
import type { ByteString } from './tar-entries.js';
import { LayerTarInvalid, readable } from './tar-entries.js';

const prefix = '.wh.';
const metaPrefix = '.wh..wh.';
const opaqueMarker = '.wh..wh..opq';

export const opaqueAttribute = 'trusted.overlay.opaque';

export type Meaning =
  | { readonly kind: 'entry' }
  /** `hidden` is the name without its prefix, in the same directory. */
  | { readonly kind: 'whiteout'; readonly hidden: ByteString }
  | { readonly kind: 'opaque' }
  /** aufs' own bookkeeping (`.wh..wh.plnk`, `.wh..wh.aufs`), and all below it. */
  | { readonly kind: 'ignored' };

/**
 * What an entry means by its name.
 *
 * Fails  LayerTarInvalid for a whiteout of nothing, of `.` or of `..`.
 */
export function meaningOf(components: readonly ByteString[]): Meaning {
  const base = components.at(-1) ?? '';
  if (base === opaqueMarker) return { kind: 'opaque' };
  if (components.some((part) => part.startsWith(metaPrefix))) return { kind: 'ignored' };
  if (!base.startsWith(prefix)) return { kind: 'entry' };
  const hidden = base.slice(prefix.length);
  if (hidden === '' || hidden === '.' || hidden === '..') {
    throw new LayerTarInvalid(`${readable(components.join('/'))} is a whiteout of no name`);
  }
  return { kind: 'whiteout', hidden };
}

/**
 * Attributes an image may not set: they steer overlay itself (a redirect or a metacopy would
 * show other files of the chain), or are how the store knows its layers.
 */
export function isReservedAttribute(name: ByteString): boolean {
  return /^(trusted|user)\.(overlay|stratalog)\./.test(name);
}
