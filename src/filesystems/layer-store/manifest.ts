/**
 * The manifest of a layer: its description, and its identity to detect changes. A store may be
 * foreign (an NFS export, a node image), so a manifest is treated as hostile input: bounded,
 * validated by a closed schema, and never the source of a path.
 */
import * as z from 'zod';

import type { ChainId } from './digest.js';
import { isDigest } from './digest.js';

export const manifestSchemaName = 'stratalog.layer/v1';

/** Manifests are about 700 bytes; more than this is not one of ours. */
export const manifestBytesMax = 64 * 1024;

const digest = z.string().refine(isDigest, 'is not a sha256 digest');
const count = z.int().nonnegative();

/**
 * How the root of a directory layer is known again. `attribute` is the value of
 * `trusted.stratalog.layer` on it, unique to one import. Where the file system holds no trusted
 * attributes, the inode's number and birth time stand in: they do not survive a copy.
 */
const directoryIdentity = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('attribute'), value: z.string().min(1).max(256) }),
  z.strictObject({
    kind: z.literal('inode'),
    inode: z.string().regex(/^\d{1,20}$/),
    birthTimeNanos: z.string().regex(/^\d{1,20}$/),
  }),
]);

/** An image's root carries `trusted.stratalog.layer` = the chain id, so that images reproduce. */
const image = z.strictObject({
  /** Size of the image file in bytes. */
  size: count,
  sha256: digest,
});

const common = {
  schema: z.literal(manifestSchemaName),
  chainId: digest,
  parentChainId: digest.nullable(),
  /** Digest of the uncompressed tar. */
  diffId: digest,
  /** The blob the layer came from, when that is known. */
  blob: z.strictObject({ digest, size: count, mediaType: z.string().max(256) }).nullable(),
  /** What the unpacked layer takes: allocated blocks in bytes, and inodes. */
  usage: z.strictObject({ size: count, inodes: count }),
  created: z.iso.datetime({ precision: 3 }),
  /** Program name to version. */
  tools: z.record(z.string().max(64), z.string().max(128)),
};

const manifestSchema = z.discriminatedUnion('format', [
  z.strictObject({ ...common, format: z.literal('directory'), identity: directoryIdentity }),
  z.strictObject({ ...common, format: z.literal('erofs'), image }),
  z.strictObject({ ...common, format: z.literal('squashfs'), image }),
]);

export type LayerManifest = z.infer<typeof manifestSchema>;
export type DirectoryManifest = Extract<LayerManifest, { format: 'directory' }>;
export type ImageManifest = Extract<LayerManifest, { format: 'erofs' | 'squashfs' }>;

/** A manifest or the store's own file is invalid. */
export class ManifestInvalid extends Error {
  override readonly name = 'ManifestInvalid';
}

/**
 * Reads the manifest of the requested layer.
 *
 * @throws ManifestInvalid if it is not JSON, violates the schema, is too long, or is the manifest
 *   of another layer
 */
export function parseManifest(text: string, expected: ChainId, path: string): LayerManifest {
  const found = parseJson(text, manifestSchema, path);
  if (found.chainId !== expected) {
    throw new ManifestInvalid(`${path} is the manifest of ${found.chainId}, not of ${expected}`);
  }
  if (found.format === 'directory' && found.identity.kind === 'attribute') {
    // A token of another layer would let that layer pass for this one.
    if (!found.identity.value.startsWith(`${expected}/`)) {
      throw new ManifestInvalid(`${path} has an identity that does not begin with its chain id`);
    }
  }
  return found;
}

/** JSON text by schema, or ManifestInvalid with the first thing that is wrong. */
export function parseJson<Schema extends z.ZodType>(
  text: string,
  schema: Schema,
  path: string,
): z.output<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ManifestInvalid(`${path} is not JSON`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const place = issue === undefined ? '' : ` at ${issue.path.map(String).join('.') || 'the top'}`;
  throw new ManifestInvalid(`${path} cannot be used${place}: ${issue?.message ?? 'invalid'}`);
}

export function formatManifest(manifest: LayerManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
