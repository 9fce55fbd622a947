/** An OCI image in memory: layers, config, manifest; written as a layout, an archive, or pushed. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Layer, digestOf } from './layer.js';
import { tarOf } from './tar.js';

const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

export interface Image {
  readonly layers: readonly Layer[];
  /** Of the topmost layer: the parent of a container's snapshot. */
  readonly chainIds: readonly string[];
  readonly manifest: Blob;
  readonly config: Blob;
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

export interface ImageOptions {
  readonly command?: readonly string[];
  /** Annotations on every layer's descriptor: they become labels of its snapshot. */
  readonly layerAnnotations?: Readonly<Record<string, string>>;
}

export function imageOf(layers: readonly Layer[], options: ImageOptions = {}): Image {
  const config = jsonBlob(mediaTypes.config, {
    created: '1970-01-01T00:00:00Z',
    architecture: architecture(),
    os: 'linux',
    config: {
      Env: ['PATH=/bin:/sbin:/usr/bin:/usr/sbin'],
      Cmd: options.command ?? ['/bin/sh'],
      WorkingDir: '/',
    },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((_, index) => ({ created_by: `layer ${index}` })),
  });
  const manifest = jsonBlob(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorOf(config),
    layers: layers.map((layer) => ({
      mediaType: mediaTypes.layer,
      digest: layer.digest,
      size: layer.gzipped.length,
      ...(options.layerAnnotations && { annotations: options.layerAnnotations }),
    })),
  });
  return { layers, chainIds: chainIdsOf(layers.map((layer) => layer.diffId)), manifest, config };
}

/** image-spec, config.md: ChainID(L0|…|Ln) = Digest(ChainID(L0|…|Ln-1) + " " + DiffID(Ln)). */
function chainIdsOf(diffIds: readonly string[]): string[] {
  const chainIds: string[] = [];
  for (const diffId of diffIds) {
    const below = chainIds.at(-1);
    chainIds.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chainIds;
}

/** Writes an OCI image layout (image-spec, image-layout.md). The directory may hold other images. */
export async function writeLayout(image: Image, directory: string, tag: string): Promise<void> {
  for (const { path, bytes } of layoutFiles(image, tag)) {
    await mkdir(join(directory, path, '..'), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
}

/** The layout as one tar, for `ctr images import`. */
export async function writeArchive(image: Image, file: string, name: string): Promise<void> {
  const files = layoutFiles(image, name);
  await writeFile(file, tarOf(files.map(({ path, bytes }) => ({ name: path, content: bytes }))));
}

function layoutFiles(image: Image, tag: string): { path: string; bytes: Buffer }[] {
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: [
      {
        ...descriptorOf(image.manifest),
        platform: { architecture: architecture(), os: 'linux' },
        annotations: { 'org.opencontainers.image.ref.name': tag },
      },
    ],
  };
  return [
    { path: 'oci-layout', bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
    ...blobsOf(image).map(({ digest, bytes }) => ({
      path: `blobs/${digest.replace(':', '/')}`,
      bytes,
    })),
    { path: 'index.json', bytes: Buffer.from(JSON.stringify(index)) },
  ];
}

/** Uploads what the registry does not have (distribution-spec, push), the manifest last. */
export async function pushImage(
  image: Image,
  registryUrl: string,
  repository: string,
  tag: string,
): Promise<void> {
  const base = `${registryUrl}/v2/${repository}`;
  for (const { digest, bytes, mediaType } of blobsOf(image)) {
    if (mediaType === mediaTypes.manifest) continue;
    if ((await fetch(`${base}/blobs/${digest}`, { method: 'HEAD' })).ok) continue;
    const opened = await expectOk(fetch(`${base}/blobs/uploads/`, { method: 'POST' }));
    const target = new URL(opened.headers.get('location') ?? '', registryUrl);
    target.searchParams.set('digest', digest);
    await expectOk(
      fetch(target, {
        method: 'PUT',
        headers: { 'content-type': 'application/octet-stream' },
        body: new Uint8Array(bytes),
      }),
    );
  }
  await expectOk(
    fetch(`${base}/manifests/${tag}`, {
      method: 'PUT',
      headers: { 'content-type': mediaTypes.manifest },
      body: new Uint8Array(image.manifest.bytes),
    }),
  );
}

async function expectOk(pending: Promise<Response>): Promise<Response> {
  const response = await pending;
  if (!response.ok) {
    throw new Error(`${response.url}: ${response.status} ${await response.text()}`);
  }
  // An unread body keeps its connection open.
  await response.arrayBuffer();
  return response;
}

function blobsOf(image: Image): Blob[] {
  return [
    ...image.layers.map(({ digest, gzipped }) => ({
      mediaType: mediaTypes.layer,
      digest,
      bytes: gzipped,
    })),
    image.config,
    image.manifest,
  ];
}

const descriptorOf = ({ mediaType, digest, bytes }: Blob) => ({
  mediaType,
  digest,
  size: bytes.length,
});

function jsonBlob(mediaType: string, value: unknown): Blob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { mediaType, digest: digestOf(bytes), bytes };
}

/** Go's word for this machine. */
function architecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

/** Bytes that look random to gzip and are the same each time: SHA-256 of a counter. */
export function noise(bytes: number, seed: string): Buffer {
  const block = 32;
  const out = Buffer.alloc(Math.ceil(bytes / block) * block);
  for (let index = 0; index * block < bytes; index += 1) {
    createHash('sha256')
      .update(`${seed} ${index}`)
      .digest()
      .copy(out, index * block);
  }
  return out.subarray(0, bytes);
}
