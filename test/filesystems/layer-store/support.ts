/** Layers as tars, images as OCI layouts, stores in temporary directories, and all of it undone. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { gzipSync } from 'node:zlib';

import type { Digest } from '../../../src/filesystems/layer-store/digest.js';
import { chainIdsOf, digestOf, hexOf } from '../../../src/filesystems/layer-store/digest.js';
import { importLayers } from '../../../src/filesystems/layer-store/import/import-image.js';
import type { ImportedLayer } from '../../../src/filesystems/layer-store/import/import-image.js';
import type { ImportOptions } from '../../../src/filesystems/layer-store/import/import-layer.js';
import {
  hostPlatform,
  type Platform,
} from '../../../src/filesystems/layer-store/import/image-manifest.js';
import {
  openSource,
  parseSource,
} from '../../../src/filesystems/layer-store/import/image-source.js';
import { layerFormats } from '../../../src/filesystems/layer-store/layout.js';
import type { LayerFormat } from '../../../src/filesystems/layer-store/layout.js';
import { TARGET_LABEL } from '../../../src/base/target-label.js';
import { openLayerStore } from '../../../src/filesystems/layer-store/layer-store.js';
import type { LayerStore } from '../../../src/filesystems/layer-store/layer-store.js';
import { systemMountTable } from '../../../src/host/mounts/mounts.js';
import { tarOf, type Entry } from '../../../scripts/rig/tar.js';
import { WorkerPool } from '../../../src/host/threads/workers.js';
import type { Labels } from '../../../src/base/units.js';

export interface Layout {
  readonly path: string;
  readonly diffIds: readonly Digest[];
  readonly chainIds: readonly Digest[];
  readonly blobs: readonly Digest[];
  readonly manifest: Digest;
}

export interface LayoutOptions {
  readonly compress?: (tar: Buffer) => Buffer;
  readonly mediaType?: string;
  readonly tag?: string;
  /** Of the image; this machine's by default. */
  readonly platform?: Platform;
  /** The tag names the manifest itself, as many tools write it, and no index around it. */
  readonly isFlat?: true;
}

/** Writes an OCI image layout with one image of these layers, for this machine's platform. */
function writeLayout(
  directory: string,
  layers: readonly Buffer[],
  options: LayoutOptions = {},
): Layout {
  const { compress = gzipSync, tag = 'v1' } = options;
  const mediaType = options.mediaType ?? 'application/vnd.oci.image.layer.v1.tar+gzip';
  fs.mkdirSync(path.join(directory, 'blobs/sha256'), { recursive: true });
  const put = (
    bytes: Buffer,
    type: string,
  ): { mediaType: string; digest: Digest; size: number } => {
    const digest = digestOf(bytes);
    fs.writeFileSync(path.join(directory, 'blobs/sha256', hexOf(digest)), bytes);
    return { mediaType: type, digest, size: bytes.length };
  };
  const putJson = (value: unknown, type: string): ReturnType<typeof put> =>
    put(Buffer.from(JSON.stringify(value)), type);
  const diffIds = layers.map((layer) => digestOf(layer));
  const descriptors = layers.map((layer) => put(compress(layer), mediaType));
  const { platform = hostPlatform(), isFlat } = options;
  const config = putJson(
    { ...platform, rootfs: { type: 'layers', diff_ids: diffIds } },
    'application/vnd.oci.image.config.v1+json',
  );
  const manifest = putJson(
    { schemaVersion: 2, config, layers: descriptors },
    'application/vnd.oci.image.manifest.v1+json',
  );
  // Nested, as registries and buildkit write it, beside an entry of no platform.
  const nested = putJson(
    {
      schemaVersion: 2,
      manifests: [
        { ...config, platform: { os: 'unknown', architecture: 'unknown' } },
        { ...manifest, platform },
      ],
    },
    'application/vnd.oci.image.index.v1+json',
  );
  const annotations = { 'org.opencontainers.image.ref.name': tag };
  fs.writeFileSync(
    path.join(directory, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ ...(isFlat === true ? manifest : nested), annotations }],
    }),
  );
  fs.writeFileSync(path.join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return {
    path: directory,
    diffIds,
    chainIds: chainIdsOf(diffIds),
    blobs: descriptors.map((each) => each.digest),
    manifest: manifest.digest,
  };
}

/** One test's directory, threads and mounts. */
export class Bench {
  readonly path: string;
  readonly workers = new WorkerPool();
  readonly mountTable = systemMountTable(this.workers);
  readonly store: string;
  readonly warnings: string[] = [];
  private made = 0;

  constructor(parent = os.tmpdir()) {
    this.path = fs.realpathSync(fs.mkdtempSync(path.join(parent, 'stratalog-layers-')));
    this.store = path.join(this.path, 'store');
  }

  directory(name: string): string {
    const made = path.join(this.path, `${name}-${(this.made += 1)}`);
    fs.mkdirSync(made);
    return made;
  }

  layout(layers: readonly Buffer[], options?: LayoutOptions): Layout {
    return writeLayout(this.directory('layout'), layers, options);
  }

  importOptions(options: Partial<ImportOptions> = {}): ImportOptions {
    return {
      format: 'directory',
      force: false,
      tarBytesMax: 1024 ** 3,
      entriesMax: 100_000,
      release: 'test',
      mountTable: this.mountTable,
      now: () => new Date(1_700_000_000_000),
      warn: (message) => void this.warnings.push(message),
      progress: () => undefined,
      signal: new AbortController().signal,
      ...options,
    };
  }

  async import(source: string, options: Partial<ImportOptions> = {}): Promise<ImportedLayer[]> {
    const sources = openSource(parseSource(source), hostPlatform(), null);
    const imported = [];
    for await (const each of importLayers(this.store, sources, this.importOptions(options))) {
      imported.push(each);
    }
    return imported;
  }

  /** Imports one lowest layer of these entries; answers its chain id. */
  async importEntries(
    entries: readonly Entry[],
    options: Partial<ImportOptions> = {},
  ): Promise<Digest> {
    const layout = this.layout([tarOf(entries)]);
    await this.import(`oci:${layout.path}:v1`, options);
    return layout.chainIds[0] as Digest;
  }

  open(): LayerStore {
    return openLayerStore({
      directory: this.store,
      mountTable: this.mountTable,
      workers: this.workers,
      busyRetriesMillis: [5, 10],
    });
  }

  async mount(chainId: Digest, store = this.open()): Promise<string> {
    const mountpoint = this.directory('mountpoint');
    await store.mount(mountpoint, labelsOf(chainId), noSignal());
    return mountpoint;
  }

  /** An overlay as containerd makes it over these lower directories, topmost first. */
  overlay(lower: readonly string[]): string {
    const [merged, upper, work] = ['merged', 'upper', 'work'].map((name) => this.directory(name));
    const options = `lowerdir=${lower.join(':')},upperdir=${upper ?? ''},workdir=${work ?? ''}`;
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, merged ?? '']);
    return merged ?? '';
  }

  mountpoints(): string[] {
    return fs
      .readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((mountpoint) => mountpoint.startsWith(`${this.path}/`));
  }

  async close(): Promise<void> {
    for (const mountpoint of this.mountpoints().reverse()) {
      execFileSync('umount', ['-l', mountpoint]);
    }
    await this.workers.close();
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

export const labelsOf = (chainId: string): Labels => new Map([[TARGET_LABEL, chainId]]);
export const noSignal = (): AbortSignal => new AbortController().signal;

/** The message a promise fails with, and `none` when it does not. */
export async function reasonFor(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  return 'none';
}

/** One extended attribute by its hex value, as another program sees it; `none` when absent. */
export function attribute(file: string, name: string): string {
  try {
    const options = ['-h', '--absolute-names', '--only-values', '-n', name, file];
    const stdio = ['ignore', 'pipe', 'ignore'] as const;
    return execFileSync('getfattr', options, { stdio: [...stdio] }).toString('hex');
  } catch {
    return 'none';
  }
}

/** Lets the compiler see each format as a case of its own. */
export const everyFormat: readonly LayerFormat[] = layerFormats;
