/**
 * Decompresses a layer's blob to its tar and verifies both digests. Detects the compression as
 * containerd does: by the first bytes (pkg/archive/compression), unless the media type is
 * uncompressed (DiffCompression in core/images). A gzip blob consists only of gzip members, a zstd
 * blob only of frames; any other byte is damage.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { Readable } from 'node:stream';
import * as zlib from 'node:zlib';

import { errnoOf, UsageError } from '../../../base/errors.js';
import type { Digest } from '../digest.js';
import { fromHex } from '../digest.js';

/** The blob or its tar does not match the descriptor or the image's config. */
export class LayerBytesWrong extends Error {
  override readonly name = 'LayerBytesWrong';
}

export interface ExpectedBytes {
  /** What messages call the layer. */
  readonly description: string;
  /** The blob's descriptor, where there is one. */
  readonly blob: {
    readonly digest: Digest;
    readonly size: number;
    readonly mediaType: string;
  } | null;
  /** Digest of the tar, where it is known. */
  readonly diffId: Digest | null;
  /** Bytes of tar at most. */
  readonly tarBytesMax: number;
  /** Hears of blob bytes read. */
  readonly progress?: (bytes: number) => void;
}

export interface LayerBytes {
  /** The tar. Rejects in its iteration with LayerBytesWrong when a promise is broken. */
  readonly tar: AsyncIterable<Uint8Array>;
  /** The tar's digest, once `tar` has been read to its end. */
  diffId(): Digest;
  /** What a blob seems to be whose bytes are no tar; null when there is no guess. */
  guess(): string | null;
}

export function openLayerBytes(
  blob: AsyncIterable<Uint8Array>,
  expected: ExpectedBytes,
): LayerBytes {
  let found: Digest | null = null;
  let guess: string | null = null;
  async function* tar(): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256');
    let size = 0;
    const opened = await peeked(watched(blob, expected));
    const compression = isPlain(expected) ? 'none' : compressionOf(opened.head);
    if (compression === 'none') guess = guessOf(opened.head);
    for await (const chunk of decompressed(opened.bytes, compression)) {
      size += chunk.length;
      if (size > expected.tarBytesMax) {
        throw new LayerBytesWrong(
          `${expected.description} unpacks to more than ${expected.tarBytesMax} bytes; --max-size allows more`,
        );
      }
      hash.update(chunk);
      yield chunk;
    }
    found = fromHex(hash.digest('hex'));
    if (expected.diffId !== null && found !== expected.diffId) {
      throw new LayerBytesWrong(
        `${expected.description} has diffID ${found}, expected ${expected.diffId} as in the image`,
      );
    }
  }
  return {
    tar: tar(),
    diffId: () => {
      if (found === null) throw new RangeError('the tar has not been read to its end');
      return found;
    },
    guess: () => guess,
  };
}

/** Passes the blob on, and breaks at its end when size or digest are wrong. */
async function* watched(
  blob: AsyncIterable<Uint8Array>,
  expected: ExpectedBytes,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of blob) {
    size += chunk.length;
    hash.update(chunk);
    expected.progress?.(chunk.length);
    yield chunk;
  }
  if (expected.blob === null) return;
  const found = fromHex(hash.digest('hex'));
  if (size !== expected.blob.size) {
    throw new LayerBytesWrong(
      `${expected.description} has ${size} bytes, expected ${expected.blob.size} as in its descriptor`,
    );
  }
  if (found !== expected.blob.digest) {
    throw new LayerBytesWrong(`${expected.description} has the digest ${found}: it is damaged`);
  }
}

type Compression = 'none' | 'gzip' | 'zstd';

/** What tells the compression, of the frames that zstd skips the longest. */
const headBytes = 10;

/** The first bytes of a blob, and all of it. */
async function peeked(
  blob: AsyncGenerator<Uint8Array>,
): Promise<{ readonly head: Buffer; readonly bytes: AsyncGenerator<Uint8Array> }> {
  const first: Uint8Array[] = [];
  for (let length = 0; length < headBytes;) {
    const next = await blob.next();
    if (next.done === true) break;
    first.push(next.value);
    length += next.value.length;
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield* first;
    yield* blob;
  }
  return { head: Buffer.concat(first).subarray(0, headBytes), bytes: whole() };
}

async function* decompressed(
  blob: AsyncGenerator<Uint8Array>,
  compression: Compression,
): AsyncGenerator<Uint8Array> {
  if (compression === 'none') yield* blob;
  else if (compression === 'gzip') yield* through(blob, zlib.createGunzip(), 'gzip member');
  else yield* unzstd(blob);
}

/** OCI's media types say whether a layer is compressed; docker's may lie. */
const isPlain = ({ blob }: ExpectedBytes): boolean =>
  blob !== null &&
  /^application\/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar$/.test(blob.mediaType);

function compressionOf(head: Buffer): Compression {
  if (head.toString('latin1', 0, 3) === '\x1f\x8b\x08') return 'gzip';
  if (head.toString('latin1', 0, 4) === zstdMagic) return 'zstd';
  // Skippable frames (0x184D2A50-5F) may come first, as in zstd:chunked.
  const isSkippable = head.length >= 8 && (head.readUInt32LE(0) & 0xfffffff0) === 0x184d2a50;
  return isSkippable ? 'zstd' : 'none';
}

const zstdMagic = '\x28\xb5\x2f\xfd';

/** What a blob that is no tar may be. A tar may begin with any of it: with the name of a file. */
const guesses: readonly (readonly [name: string, begin: string])[] = [
  ['compressed with gzip', '\x1f\x8b'],
  ['compressed with zstd', zstdMagic],
  ['compressed with xz', '\xfd7zXZ'],
  ['compressed with bzip2', 'BZh'],
  ['compressed with lz4', '\x04"M\x18'],
  ['a zip archive', 'PK\x03\x04'],
];

function guessOf(head: Buffer): string | null {
  const fits = guesses.find(([, begin]) => head.toString('latin1', 0, begin.length) === begin);
  return fits?.[0] ?? null;
}

/** Passes a source through a decompressor that ends where the source ends, and not before. */
async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Duplex & { readonly bytesWritten: number },
  unit: string,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  async function* pluralize(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      size += chunk.length;
      yield chunk;
    }
  }
  const input = Readable.from(pluralize(), { objectMode: false });
  input.on('error', (error) => transform.destroy(error));
  input.pipe(transform);
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
    // A decompressor may end before its input does; the rest still counts for the digest.
    const rest = input[Symbol.asyncIterator]();
    while ((await rest.next()).done !== true);
  } catch (thrown) {
    throw errnoOf(thrown)?.startsWith('Z_') === true
      ? new LayerBytesWrong(`the layer cannot be decompressed: ${(thrown as Error).message}`)
      : thrown;
  } finally {
    input.destroy();
    transform.destroy();
  }
  const consumed = transform.bytesWritten;
  if (consumed < size) {
    throw new LayerBytesWrong(
      `the layer cannot be decompressed: ${size - consumed} bytes after its last ${unit} are none`,
    );
  }
}

/** As containerd: a frame may need a window of 512 MiB, which is held in memory. */
const zstdWindowLogMax = 29;
/** ZSTD_d_windowLogMax in zstd.h. */
const zstdWindowLogMaxParameter = 100;

type ZstdConstructor = (options: {
  readonly params: Readonly<Record<number, number>>;
}) => Duplex & { readonly bytesWritten: number };

/** By Node's zlib where it has zstd (22.15 and later), else by the zstd program. */
async function* unzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const create: unknown = Reflect.get(zlib, 'createZstdDecompress');
  if (typeof create === 'function') {
    const params = { [zstdWindowLogMaxParameter]: zstdWindowLogMax };
    yield* through(source, (create as ZstdConstructor)({ params }), 'zstd frame');
    return;
  }
  const zstdArguments = ['-dcq', `--long=${zstdWindowLogMax}`];
  const program = spawn('zstd', zstdArguments, { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  program.stderr.on(
    'data',
    (text: Buffer) => (complaint = `${complaint}${text.toString()}`.slice(0, 500)),
  );
  const ended = once(program, 'close');
  ended.catch(() => undefined);
  const input = Readable.from(source, { objectMode: false });
  let broken: Error | undefined;
  input.on('error', (error) => {
    broken = error;
    program.kill('SIGKILL');
  });
  // EPIPE if the program exits early; its exit code is handled separately.
  program.stdin.on('error', () => undefined);
  input.pipe(program.stdin);
  try {
    for await (const chunk of program.stdout) yield chunk as Uint8Array;
    const [code] = (await ended) as [number | null];
    if (broken !== undefined) throw broken;
    if (code !== 0) {
      throw new LayerBytesWrong(`the layer cannot be decompressed: ${complaint.trim()}`);
    }
  } catch (thrown) {
    if (errnoOf(thrown) !== 'ENOENT') throw thrown;
    throw new UsageError(
      'the layer is compressed with zstd: install the zstd program (Debian package zstd) or run Node 22.15 or later',
      { cause: thrown },
    );
  } finally {
    input.destroy();
    program.kill('SIGKILL');
  }
}
