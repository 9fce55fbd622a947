/**
 * Where layers come from, as one writes it on a command line:
 *
 *     oci:LAYOUT[:TAG | @sha256:…]      an OCI image layout
 *     content:ROOT@sha256:…             containerd's content store, by the digest of a manifest or index
 *     tar:FILE                          one layer's tar, with its chain id given beside it
 */
import { createReadStream, lstatSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as z from 'zod';

import { UsageError } from '../../../base/errors.js';
import { blobDirectory } from './blob-directory.js';
import type { ChainId, Digest } from '../digest.js';
import { isDigest } from '../digest.js';
import type { BlobStore, Descriptor, Platform } from './image-manifest.js';
import { documentBytesMax, indexSchema, layersOf } from './image-manifest.js';
import type { LayerSource } from './import-layer.js';
import { ManifestInvalid, parseJson } from '../manifest.js';

export type SourceReference =
  | {
      readonly kind: 'oci';
      readonly layout: string;
      readonly tag: string | null;
      readonly digest: Digest | null;
    }
  | { readonly kind: 'content'; readonly root: string; readonly digest: Digest }
  | { readonly kind: 'tar'; readonly file: string };

const layoutFile = z.object({ imageLayoutVersion: z.string() });
const forms = 'oci:LAYOUT:TAG, content:CONTAINERD-ROOT@sha256:DIGEST or tar:FILE';

/**
 * Reads a source as written.
 *
 * Fails  UsageError when it is none of the forms.
 */
export function parseSource(text: string): SourceReference {
  const [, kind, rest] = /^(oci|content|tar):(.+)$/s.exec(text) ?? [];
  if (kind === undefined || rest === undefined) {
    throw new UsageError(`${text} names no source of layers; say ${forms}`);
  }
  if (kind === 'tar') return { kind, file: rest };
  const [, path, hex] = /^(.+)@(sha256:[^@/]*)$/s.exec(rest) ?? [];
  if (hex !== undefined && !isDigest(hex)) throw new UsageError(`${hex} is not a sha256 digest`);
  if (kind === 'content') {
    if (path === undefined || hex === undefined) {
      throw new UsageError(`${text} has no digest; say content:CONTAINERD-ROOT@sha256:DIGEST`);
    }
    return { kind, root: path, digest: hex };
  }
  if (path !== undefined && hex !== undefined) {
    return { kind: 'oci', layout: path, tag: null, digest: hex };
  }
  return { kind: 'oci', ...splitTag(rest), digest: null };
}

/** A path may hold colons, and so may a tag: the first cut that leaves a layout before it counts. */
function splitTag(rest: string): { layout: string; tag: string | null } {
  for (let colon = rest.indexOf(':'); colon >= 0; colon = rest.indexOf(':', colon + 1)) {
    const layout = rest.slice(0, colon);
    const tag = rest.slice(colon + 1);
    if (tag !== '' && isLayout(layout)) return { layout, tag };
  }
  if (isLayout(rest)) return { layout: rest, tag: null };
  const first = rest.indexOf(':');
  return first < 0
    ? { layout: rest, tag: null }
    : { layout: rest.slice(0, first), tag: rest.slice(first + 1) };
}

const isLayout = (path: string): boolean =>
  lstatSync(join(path, 'oci-layout'), { throwIfNoEntry: false })?.isFile() === true;

export interface TarChain {
  readonly chainId: ChainId;
  readonly parentChainId: ChainId | null;
}

/**
 * The layers a source holds, bottom up. Reads documents, no layer yet.
 *
 * Fails  UsageError, or ManifestInvalid for documents that break their form.
 *
 * @param platform null: this machine's where an image has several, else whatever it has
 */
export function openSource(
  reference: SourceReference,
  platform: Platform | null,
  tarChain: TarChain | null,
): readonly LayerSource[] {
  if (reference.kind === 'tar') {
    if (tarChain === null) throw new UsageError('a tar needs its chain id: --chain-id sha256:…');
    if (platform !== null) throw new UsageError('a tar has no platform: leave --platform out');
    return [tarSource(reference.file, tarChain)];
  }
  if (tarChain !== null) throw new UsageError('--chain-id and --parent go with tar:FILE only');
  const [blobs, top] =
    reference.kind === 'oci'
      ? openLayout(reference.layout, reference.tag, reference.digest)
      : [openContentStore(reference.root), reference.digest];
  return layersOf(blobs, top, platform).map((layer) => ({
    description: `the layer ${layer.blob.digest}`,
    chainId: layer.chainId,
    parentChainId: layer.parentChainId,
    diffId: layer.diffId,
    blob: { digest: layer.blob.digest, size: layer.blob.size, mediaType: layer.blob.mediaType },
    open: () => blobs.stream(layer.blob.digest, layer.blob.size),
    repeatable: true,
  }));
}

function tarSource(file: string, chain: TarChain): LayerSource {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new UsageError(`there is no file ${file}`);
  // A link may lead to a shell's own pipe (tar:/dev/stdin); a named pipe may have no writer.
  if (!found.isFile() && !found.isSymbolicLink()) {
    throw new UsageError(`${file} is not a regular file`);
  }
  return {
    description: `the layer ${basename(file)}`,
    ...chain,
    diffId: null,
    blob: null,
    open: () => createReadStream(file, { highWaterMark: 256 * 1024 }),
    repeatable: statSync(file).isFile(),
  };
}

/** The blobs of a layout, and the digest that a tag stands for (image-spec, image-layout.md). */
function openLayout(
  layout: string,
  tag: string | null,
  digest: Digest | null,
): readonly [BlobStore, Digest] {
  if (!isLayout(layout)) {
    throw new UsageError(`${layout} is not an OCI image layout: it has no oci-layout file`);
  }
  const version = parseJson(
    readSmall(join(layout, 'oci-layout')),
    layoutFile,
    join(layout, 'oci-layout'),
  ).imageLayoutVersion;
  if (!version.startsWith('1.')) {
    throw new UsageError(`${layout} is an OCI image layout of version ${version}, not of 1`);
  }
  const blobs = blobDirectory(layout, `the layout ${layout}`);
  if (digest !== null) return [blobs, digest];
  const path = join(layout, 'index.json');
  const { manifests } = parseJson(readSmall(path), indexSchema, path);
  return [blobs, chooseTag(manifests, tag, layout)];
}

/** Names of the entry: the reference of the spec, and the full one that `ctr image export` adds. */
const tagAnnotations = ['org.opencontainers.image.ref.name', 'io.containerd.image.name'];

const namesOf = (entry: Descriptor): readonly string[] =>
  tagAnnotations.flatMap((key) => entry.annotations?.[key] ?? []);

function chooseTag(entries: readonly Descriptor[], tag: string | null, layout: string): Digest {
  const tags = [...new Set(entries.flatMap(namesOf))].join(', ') || 'none';
  const fits = tag === null ? entries : entries.filter((each) => namesOf(each).includes(tag));
  const digests = new Set(fits.map((each) => each.digest));
  const [chosen] = digests;
  if (chosen !== undefined && digests.size === 1) return chosen;
  if (tag === null) {
    throw new UsageError(`${layout} holds ${digests.size} images; say which by its tag: ${tags}`);
  }
  throw new UsageError(
    digests.size === 0
      ? `${layout} has no image tagged ${tag}; its tags: ${tags}`
      : `${layout} has several images tagged ${tag}; say which by oci:LAYOUT@sha256:DIGEST`,
  );
}

/** containerd's root, its content plugin's directory, and both of their names are taken. */
function openContentStore(root: string): BlobStore {
  const plugin = join(root, 'io.containerd.content.v1.content');
  for (const place of [plugin, root]) {
    const blobs = join(place, 'blobs', 'sha256');
    if (lstatSync(blobs, { throwIfNoEntry: false })?.isDirectory() === true) {
      return blobDirectory(place, `the content store ${place}`);
    }
  }
  throw new UsageError(`${root} holds no content store of containerd: there is no ${plugin}`);
}

function readSmall(path: string): string {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() !== true) throw new UsageError(`${path} is not a regular file`);
  if (stats.size > documentBytesMax) throw new ManifestInvalid(`${path} is too large`);
  return readFileSync(path, 'utf8');
}
