/**
 * Digests and chain ids, in the form OCI writes them. Only sha256 is known: containerd computes
 * chain ids with it whatever the blobs use (image-spec, config.md, "Layer ChainID").
 */
import { createHash } from 'node:crypto';

declare const digestBrand: unique symbol;

/** `sha256:` and 64 lower-case hex digits, checked. Safe as a part of a path. */
export type Digest = string & { readonly [digestBrand]: true };

/** The digest that names a layer together with all layers below it. */
export type ChainId = Digest;

const digestForm = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return digestForm.test(text);
}

/** The 64 hex digits. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return fromHex(createHash('sha256').update(bytes).digest('hex'));
}

/** Wraps what a hash answered. */
export function fromHex(hex: string): Digest {
  const text = `sha256:${hex}`;
  if (!isDigest(text)) throw new RangeError(`${hex} is not the hex form of a sha256 digest`);
  return text;
}

/**
 * The chain id of a layer on a parent chain. The lowest layer's chain id is its diff id.
 * Source: image-spec config.md; identity.ChainIDs in opencontainers/image-spec.
 */
export function chainIdOn(parent: ChainId | null, diffId: Digest): ChainId {
  return parent === null ? diffId : digestOf(`${parent} ${diffId}`);
}

/** The chain id of each layer, bottom up. */
export function chainIdsOf(diffIds: readonly Digest[]): readonly ChainId[] {
  const chain: ChainId[] = [];
  let parent: ChainId | null = null;
  for (const diffId of diffIds) {
    parent = chainIdOn(parent, diffId);
    chain.push(parent);
  }
  return chain;
}
