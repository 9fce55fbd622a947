/**
 * Puts one layer into a store: unpack, convert, make durable, rename. Until the rename the store
 * does not have the layer; after it, it has all of it.
 *
 * The digests of blob and tar and the size limit are checked while streaming, so a layer that does
 * not match is detected in staging and never published.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, lchownSync, lstatSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { UsageError } from '../../../base/errors.js';
import type { MountTable } from '../../../base/ports.js';
import type { ChainId, Digest } from '../digest.js';
import { chainIdOn } from '../digest.js';
import { measure } from '../../../host/files/directory-jobs.js';
import { lgetxattr, lremovexattr, lsetxattr } from '../../../host/files/xattrs.js';
import { TarInvalid } from '../../../tar/header.js';
import { limitsOf } from './format-limits.js';
import { buildImage, imageTool } from './image-build.js';
import { LayerBytesWrong, openLayerBytes } from './layer-bytes.js';
import type { LayerFormat } from '../layout.js';
import { contentNames, identityAttribute, layerPath } from '../layout.js';
import { LowerDirectories } from './lower-directories.js';
import type { LayerManifest } from '../manifest.js';
import { formatManifest, manifestSchemaName } from '../manifest.js';
import { LayerTarInvalid } from './rooted-tree.js';
import type { Staging } from '../store-directory.js';
import { confirmNames, openStaging, publish, replace } from '../store-directory.js';
import { isUnsupported, requireAttribute, unpackLayer } from './tar-layer.js';
import type { Unpacked } from './tar-layer.js';
import { digestOfFile, mountsOf, quickCheck } from '../verify-layer.js';

/** A layer and where its bytes come from. */
export interface LayerSource {
  /** Named by its digest or file in messages. */
  readonly description: string;
  readonly chainId: ChainId;
  readonly parentChainId: ChainId | null;
  /** Null when only the chain id is known: then it is computed, and checked through the chain id. */
  readonly diffId: Digest | null;
  readonly blob: {
    readonly digest: Digest;
    readonly size: number;
    readonly mediaType: string;
  } | null;
  open(): AsyncIterable<Uint8Array>;
  /** False for a pipe, which can be opened only once. */
  readonly repeatable: boolean;
}

export interface ImportOptions {
  readonly format: LayerFormat;
  /** Replaces an existing layer. */
  readonly force: boolean;
  readonly tarBytesMax: number;
  readonly entriesMax: number;
  readonly release: string;
  readonly mountTable: MountTable;
  readonly now: () => Date;
  readonly warn: (message: string) => void;
  readonly progress: (source: LayerSource, bytes: number) => void;
  readonly signal: AbortSignal;
}

export type ImportOutcome = 'imported' | 'already present' | 'replaced';

/** Far above any layer in use, and far below what endless gzip would write. */
export const tarBytesMaxDefault = 64 * 1024 ** 3;
export const entriesMaxDefault = 5_000_000;

/**
 * Imports a layer into an open store.
 *
 * Fails  LayerTarInvalid, LayerBytesWrong for a bad layer; UsageError for a missing tool, or
 *        --force on a mounted directory layer; errno errors of the store's file system.
 * Keeps  a failed import leaves the store as it was.
 */
export async function importLayer(
  store: string,
  source: LayerSource,
  options: ImportOptions,
): Promise<ImportOutcome> {
  const present = quickCheck(store, source.chainId);
  if (present.state === 'good' && !options.force) {
    confirmNames(store);
    return 'already present';
  }
  if (present.state === 'unread') {
    throw new Error(
      `the layer in the store cannot be looked at, and was left alone: ${present.fault}`,
    );
  }
  if (present.state === 'damaged' && !options.force) {
    throw new UsageError(`${present.fault}; import it again with --force`);
  }
  const staging = await openStaging(store);
  try {
    const staged = await stageLayer(store, staging, source, options);
    if (present.state === 'absent') {
      return publish(store, source.chainId, staged) ? 'imported' : 'already present';
    }
    await refuseWhileMounted(store, source.chainId, options.mountTable);
    const isOurs = replace(store, source.chainId, staged, staging);
    return isOurs ? 'replaced' : 'already present';
  } finally {
    await staging.close();
  }
}

/** Builds the layer's directory in staging, whole, and answers its path. */
async function stageLayer(
  store: string,
  staging: Staging,
  source: LayerSource,
  options: ImportOptions,
): Promise<string> {
  const { format } = options;
  const tools = format === 'directory' ? {} : await imageTool(format);
  const staged = join(staging.path, 'layer');
  const tree =
    format === 'directory' ? join(staged, contentNames.directory) : join(staging.path, 'tree');
  mkdirSync(staged, { mode: 0o700 });
  const diffId = await unpack(store, staging, source, tree, options);
  const common = {
    schema: manifestSchemaName,
    chainId: source.chainId,
    parentChainId: source.parentChainId,
    diffId,
    blob: source.blob,
    usage: measure({ path: tree }, { aborted: () => options.signal.aborted }).usage,
    created: options.now().toISOString(),
    tools: { stratalog: options.release, ...tools },
  } as const;
  let manifest: LayerManifest;
  if (format === 'directory') {
    manifest = { ...common, format, identity: identify(tree, source.chainId) };
  } else {
    requireAttribute(tree, identityAttribute, source.chainId);
    const image = join(staged, contentNames[format]);
    await buildImage(format, tree, image, source.chainId, options.signal);
    rmSync(tree, { recursive: true, force: true });
    manifest = {
      ...common,
      format,
      image: { size: lstatSync(image).size, sha256: await digestOfFile(image) },
    };
  }
  writeFileSync(join(staged, 'manifest.json'), formatManifest(manifest), { mode: 0o644 });
  return staged;
}

/**
 * Unpacks the layer into a new directory. A lowest layer is unpacked by rules of its own, and of a
 * tar that comes with a chain id alone only its end tells whether it is one: then it may have to
 * be unpacked a second time.
 */
async function unpack(
  store: string,
  staging: Staging,
  source: LayerSource,
  tree: string,
  options: ImportOptions,
): Promise<Digest> {
  const lowest = source.parentChainId === null;
  const { diffId, whiteouts } = await unpackAs(lowest, store, staging, source, tree, options);
  requireChain(source, diffId, options);
  if (!lowest || diffId === source.chainId || whiteouts === 0) return diffId;
  if (!source.repeatable) {
    throw new UsageError(
      `${source.description} deletes files of the layers below it: name its parent with --parent, or give a file instead of a pipe`,
    );
  }
  rmSync(tree, { recursive: true });
  return (await unpackAs(false, store, staging, source, tree, options)).diffId;
}

async function unpackAs(
  lowest: boolean,
  store: string,
  staging: Staging,
  source: LayerSource,
  tree: string,
  options: ImportOptions,
): Promise<Unpacked & { readonly diffId: Digest }> {
  makeRoot(tree);
  const bytes = openLayerBytes(source.open(), {
    description: source.description,
    blob: source.blob,
    diffId: source.diffId,
    tarBytesMax: options.tarBytesMax,
    progress: (count) => options.progress(source, count),
  });
  const lower = new LowerDirectories(store, source.parentChainId, staging.path, options);
  try {
    const unpacked = await unpackLayer(bytes.tar, tree, {
      lowest,
      findLower: (path) => lower.find(path),
      limits: limitsOf(options.format),
      entriesMax: options.entriesMax,
      contentBytesMax: options.tarBytesMax,
      warn: options.warn,
      signal: options.signal,
    });
    return { ...unpacked, diffId: bytes.diffId() };
  } catch (thrown) {
    throw namedFault(source, thrown, bytes.guess());
  } finally {
    await lower.close();
  }
}

/** What makes a layer invalid, with the layer's name. */
function namedFault(source: LayerSource, thrown: unknown, guess: string | null): unknown {
  if (thrown instanceof LayerTarInvalid) {
    return new LayerTarInvalid(`${source.description}: ${thrown.message}`, { cause: thrown });
  }
  if (thrown instanceof UsageError) {
    return new UsageError(`${source.description}: ${thrown.message}`, { cause: thrown });
  }
  if (!(thrown instanceof TarInvalid)) return thrown;
  const hint =
    guess === null
      ? ''
      : `; it seems to be ${guess}: layers are tars, compressed with gzip, zstd or not at all as their media type says`;
  return new LayerTarInvalid(
    `${source.description} is not a whole tar archive: ${thrown.message}${hint}`,
    { cause: thrown },
  );
}

/** The root of a layer as containerd makes it, whatever the store's own directory would pass on. */
function makeRoot(tree: string): void {
  mkdirSync(tree);
  removeAttribute(tree, 'system.posix_acl_default');
  removeAttribute(tree, 'system.posix_acl_access');
  lchownSync(tree, 0, 0);
  chmodSync(tree, 0o755);
}

function removeAttribute(path: string, name: string): void {
  if (lgetxattr(path, name) !== null) lremovexattr(path, name);
}

/** The chain id of a tar given by hand is checked as far as the parent is known. */
function requireChain(source: LayerSource, diffId: Digest, options: ImportOptions): void {
  const chainId = chainIdOn(source.parentChainId, diffId);
  if (chainId === source.chainId) return;
  if (source.parentChainId !== null) {
    throw new LayerBytesWrong(
      `${source.description} on ${source.parentChainId} has the chain id ${chainId}, not ${source.chainId}`,
    );
  }
  options.warn(
    `${source.description} is stored as ${source.chainId} unchecked: name its parent with --parent`,
  );
}

/** Marks the root of a directory layer, so that another directory in its place is noticed. */
function identify(
  tree: string,
  chainId: ChainId,
): Extract<LayerManifest, { format: 'directory' }>['identity'] {
  const value = `${chainId}/${randomBytes(16).toString('hex')}`;
  try {
    lsetxattr(tree, identityAttribute, Buffer.from(value));
    return { kind: 'attribute', value };
  } catch (thrown) {
    if (!isUnsupported(thrown)) throw thrown;
  }
  const stats = lstatSync(tree, { bigint: true });
  return {
    kind: 'inode',
    inode: stats.ino.toString(),
    birthTimeNanos: stats.birthtimeNs.toString(),
  };
}

/** A directory under a bind mount cannot be taken away: what runs on it would see it vanish. */
async function refuseWhileMounted(
  store: string,
  chainId: ChainId,
  mountTable: MountTable,
): Promise<void> {
  const users = await mountsOf(layerPath(store, chainId), mountTable);
  const first = users[0];
  if (first === undefined) return;
  throw new UsageError(
    `${chainId} is mounted at ${first.mountpoint}; a layer in use cannot be replaced`,
  );
}
