/** One layer of an image: a deterministic, gzipped tar with OCI whiteouts (image-spec, layer.md). */
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { tarOf, type Entry } from './tar.js';

export type LayerEntry =
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly content: string | Buffer;
      readonly mode?: number;
    }
  | { readonly kind: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  /** The path of the layers below is gone. */
  | { readonly kind: 'whiteout'; readonly path: string }
  /** Nothing of the layers below shows in this directory. */
  | { readonly kind: 'opaque'; readonly path: string };

export interface Layer {
  /** Of the gzipped tar: the blob's name in a registry. */
  readonly digest: string;
  /** Of the tar itself: what chain ids are made of. */
  readonly diffId: string;
  readonly gzipped: Buffer;
}

export const digestOf = (bytes: Uint8Array | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Entries in the order given; parents before children. The same bytes on every machine and day. */
export function layerOf(entries: readonly LayerEntry[]): Layer {
  const tar = tarOf(entries.map(tarEntryOf));
  const gzipped = gzipSync(tar, { level: 6 });
  return { digest: digestOf(gzipped), diffId: digestOf(tar), gzipped };
}

function tarEntryOf(entry: LayerEntry): Entry {
  const slash = entry.path.lastIndexOf('/') + 1;
  switch (entry.kind) {
    case 'file':
      return { name: entry.path, mode: entry.mode ?? 0o644, content: entry.content };
    case 'directory':
      return { name: `${entry.path}/`, type: 'directory', mode: entry.mode ?? 0o755 };
    case 'symlink':
      return { name: entry.path, type: 'symlink', linkname: entry.target, mode: 0o777 };
    case 'whiteout':
      return { name: `${entry.path.slice(0, slash)}.wh.${entry.path.slice(slash)}` };
    case 'opaque':
      return { name: `${entry.path}/.wh..wh..opq` };
  }
}

/** A layer from a gzipped tar that something else made, such as a diff of a container. */
export function layerOfBlob(gzipped: Buffer): Layer {
  return { digest: digestOf(gzipped), diffId: digestOf(gunzipSync(gzipped)), gzipped };
}
