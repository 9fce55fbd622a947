/** One layer of an image: a deterministic, gzipped tar with OCI whiteouts (image-spec, layer.md). */
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { type Pack, pack } from 'tar-stream';

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

/** Entries in the order given; parents before children. */
export async function layerOf(entries: readonly LayerEntry[]): Promise<Layer> {
  const archive = pack();
  for (const entry of entries) addEntry(archive, entry);
  const tar = await bytesOf(archive);
  const gzipped = gzipSync(tar, { level: 6 });
  return { digest: digestOf(gzipped), diffId: digestOf(tar), gzipped };
}

/** Ends the archive and answers all of it. */
export async function bytesOf(archive: Pack): Promise<Buffer> {
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function addEntry(archive: Pack, entry: LayerEntry): void {
  // The same bytes on every machine and day, so that digests can be compared.
  const common = { mtime: new Date(0), uid: 0, gid: 0, uname: '', gname: '' };
  const slash = entry.path.lastIndexOf('/') + 1;
  switch (entry.kind) {
    case 'file':
      archive.entry({ ...common, name: entry.path, mode: entry.mode ?? 0o644 }, entry.content);
      return;
    case 'directory':
      archive.entry({ ...common, name: entry.path, type: 'directory', mode: entry.mode ?? 0o755 });
      return;
    case 'symlink':
      archive.entry({
        ...common,
        name: entry.path,
        type: 'symlink',
        linkname: entry.target,
        mode: 0o777,
      });
      return;
    case 'whiteout':
      archive.entry(
        {
          ...common,
          name: `${entry.path.slice(0, slash)}.wh.${entry.path.slice(slash)}`,
          mode: 0o644,
        },
        '',
      );
      return;
    case 'opaque':
      archive.entry({ ...common, name: `${entry.path}/.wh..wh..opq`, mode: 0o644 }, '');
      return;
  }
}

/** A layer from a gzipped tar that something else made, such as a diff of a container. */
export function layerOfBlob(gzipped: Buffer): Layer {
  return { digest: digestOf(gzipped), diffId: digestOf(gunzipSync(gzipped)), gzipped };
}
