/**
 * The documents of an image - index, manifest, config - read from blobs by digest, and the choice
 * of a platform among several. OCI and docker media types alike (image-spec; distribution,
 * manifest v2 schema 2). All of it is untrusted input.
 */
import * as z from 'zod';

import { UsageError } from '../../../base/errors.js';
import type { ChainId, Digest } from '../digest.js';
import { chainIdsOf, isDigest } from '../digest.js';
import { parseJson } from '../manifest.js';

const digest = z.string().refine(isDigest, 'is not a sha256 digest');

const platformSchema = z.object({
  architecture: z.string(),
  os: z.string(),
  variant: z.string().optional(),
});
export type Platform = z.infer<typeof platformSchema>;

const descriptorSchema = z.object({
  mediaType: z.string(),
  digest,
  size: z.int().nonnegative(),
  platform: platformSchema.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = z.infer<typeof descriptorSchema>;

export const indexSchema = z.object({ manifests: z.array(descriptorSchema).max(10_000) });
const manifestSchema = z.object({
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(1_000),
});
const configSchema = z.object({
  os: z.string().optional(),
  architecture: z.string().optional(),
  variant: z.string().optional(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digest) }),
});

/** Documents are read whole; registries refuse manifests over 4 MiB. */
export const documentBytesMax = 8 * 1024 * 1024;
const indexDepthMax = 4;

/** Where blobs come from by digest: an OCI layout's or containerd's content store. */
export interface BlobStore {
  /** For messages. */
  readonly description: string;
  /** The whole blob, its size and digest checked. */
  readDocument(digest: Digest): Buffer;
  /** The blob's bytes, unchecked. `size` where a descriptor tells it. */
  stream(digest: Digest, size: number): AsyncIterable<Uint8Array>;
}

export interface ImageLayer {
  readonly chainId: ChainId;
  readonly parentChainId: ChainId | null;
  readonly diffId: Digest;
  readonly blob: Descriptor;
}

/**
 * The layers of an image, bottom up, from the digest of its manifest or of an index.
 *
 * Fails  UsageError when there is no manifest for the platform or no layer in it, or the documents
 *        do not agree.
 *
 * @param platform null: this machine's where there are several; else whatever there is
 */
export function layersOf(
  blobs: BlobStore,
  top: Digest,
  platform: Platform | null,
): readonly ImageLayer[] {
  const manifest = resolveManifest(blobs, top, platform ?? hostPlatform(), 0);
  const place = `the config ${manifest.config.digest}`;
  const configText = blobs.readDocument(manifest.config.digest).toString('utf8');
  const config = parseJson(configText, configSchema, place);
  const diffIds = config.rootfs.diff_ids;
  // One manifest alone is not chosen by its platform, so it may be of any.
  if (platform !== null) requirePlatform(config, platform);
  if (manifest.layers.length === 0) {
    throw new UsageError('the image has no layers: there is nothing to import');
  }
  if (diffIds.length !== manifest.layers.length) {
    throw new UsageError(
      `the image has ${manifest.layers.length} layers, but its config names ${diffIds.length}`,
    );
  }
  const chainIds = chainIdsOf(diffIds);
  return manifest.layers.map((blob, index): ImageLayer => {
    const chainId = chainIds[index];
    const diffId = diffIds[index];
    if (chainId === undefined || diffId === undefined) throw new RangeError('layers ran out');
    requireLayerType(blob);
    return { chainId, diffId, blob, parentChainId: chainIds[index - 1] ?? null };
  });
}

function resolveManifest(
  blobs: BlobStore,
  at: Digest,
  platform: Platform,
  depth: number,
): z.infer<typeof manifestSchema> {
  if (depth > indexDepthMax) throw new UsageError('the image has indexes nested too deep');
  const text = blobs.readDocument(at).toString('utf8');
  const document = parseJson(text, z.looseObject({}), `the document ${at}`);
  if (!('manifests' in document)) return parseJson(text, manifestSchema, `the manifest ${at}`);
  const { manifests } = parseJson(text, indexSchema, `the index ${at}`);
  const chosen = choose(manifests, platform);
  if (chosen === undefined) {
    const there = manifests.flatMap((each) => each.platform ?? []).map(formatPlatform);
    throw new UsageError(
      `the image is not there for ${formatPlatform(platform)}, only for ${there.join(', ') || 'no platform'}`,
    );
  }
  return resolveManifest(blobs, chosen.digest, platform, depth + 1);
}

/** A config without a platform matches every platform. */
function requirePlatform(config: z.infer<typeof configSchema>, wanted: Platform): void {
  const { os = wanted.os, architecture = wanted.architecture, variant } = config;
  const found = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  if (isFor(found, wanted)) return;
  throw new UsageError(
    `the image is not there for ${formatPlatform(wanted)}, only for ${formatPlatform(found)}`,
  );
}

function isFor(platform: Platform, wanted: Platform): boolean {
  if (platform.os !== wanted.os || platform.architecture !== wanted.architecture) return false;
  return wanted.variant === undefined || variantOf(platform) === variantOf(wanted);
}

/** Variants that mean the same as none at all (containerd's platforms, normalizeArch). */
function variantOf({ architecture, variant = '' }: Platform): string {
  if (architecture === 'arm64' && ['8', 'v8'].includes(variant)) return '';
  if (architecture === 'amd64' && variant === 'v1') return '';
  if (architecture === 'arm') return variant === '' ? 'v7' : `v${variant.replace(/^v/, '')}`;
  return variant;
}

/** The manifest of a platform in an index. One without a platform matches every platform. */
function choose(manifests: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  const fits = manifests.filter(
    ({ platform }) => platform !== undefined && isFor(platform, wanted),
  );
  if (fits.length > 0) return fits[0];
  const unnamed = manifests.filter(({ platform }) => platform === undefined);
  return unnamed.length === 1 ? unnamed[0] : undefined;
}

const layerTypes = [
  /^application\/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+(gzip|zstd))?$/,
  /^application\/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.(gzip|zstd))?$/,
];

function requireLayerType(blob: Descriptor): void {
  if (layerTypes.some((type) => type.test(blob.mediaType))) return;
  throw new UsageError(`${blob.digest} is a ${blob.mediaType}, not a layer that can be unpacked`);
}

/** `linux/arm64/v8` and the like. */
export function parsePlatform(text: string): Platform {
  const form = /^([a-z0-9_]+)\/([a-z0-9_]+)(?:\/([a-z0-9_.]+))?$/.exec(text);
  if (form?.[1] === undefined || form[2] === undefined) {
    throw new UsageError(`${text} is not a platform; say os/architecture, such as linux/amd64`);
  }
  const variant = form[3] === undefined ? {} : { variant: form[3] };
  return { os: form[1], architecture: form[2], ...variant };
}

/** As `parsePlatform` reads it. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

/** This machine's platform by Go's names, which images use. */
export function hostPlatform(): Platform {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', loong64: 'loong64' };
  return { os: 'linux', architecture: names[process.arch] ?? process.arch };
}
