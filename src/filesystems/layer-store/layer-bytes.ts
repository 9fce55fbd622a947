/**
 * From a layer's blob to its tar, with both digests watched on the way. The compression is told
 * by the first bytes, as containerd tells it (pkg/archive/compression): media types lie.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { Readable } from 'node:stream';
import * as zlib from 'node:zlib';

import { errnoOf, UsageError } from '../../base/errors.js';
import type { Digest } from './digest.js';
import { fromHex } from './digest.js';

/** The blob or the tar in it is not what its descriptor or the image's config promised. */
export class LayerBytesWrong extends Error {
  override readonly name = 'LayerBytesWrong';
}

export interface ExpectedBytes {
  /** What messages call the layer. */
  readonly description: string;
  /** Digest and size of the blob as it is stored, where they are known. */
  readonly blob: { readonly digest: Digest; readonly size: number } | null;
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
}

export function openLayerBytes(
  blob: AsyncIterable<Uint8Array>,
  expected: ExpectedBytes,
): LayerBytes {
  let found: Digest | null = null;
  async function* tar(): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of decompressed(watched(blob, expected))) {
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
        `${expected.description} holds the tar ${found}, but the image says ${expected.diffId}`,
      );
    }
  }
  return {
    tar: tar(),
    diffId: () => {
      if (found === null) throw new RangeError('the tar has not been read to its end');
      return found;
    },
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
      `${expected.description} has ${size} bytes, its descriptor says ${expected.blob.size}`,
    );
  }
  if (found !== expected.blob.digest) {
    throw new LayerBytesWrong(`${expected.description} has the digest ${found}: it is damaged`);
  }
}

type Compression = 'none' | 'gzip' | 'zstd';

/** Bytes that tell each compression. */
const longestMagic = 6;

async function* decompressed(blob: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const head: Uint8Array[] = [];
  let length = 0;
  while (length < longestMagic) {
    const next = await blob.next();
    if (next.done === true) break;
    head.push(next.value);
    length += next.value.length;
  }
  const first = Buffer.concat(head);
  async function* whole(): AsyncGenerator<Uint8Array> {
    if (first.length > 0) yield first;
    yield* blob;
  }
  const compression = compressionOf(first);
  if (compression === 'none') yield* whole();
  else if (compression === 'gzip') yield* through(whole(), zlib.createGunzip());
  else yield* unzstd(whole());
}

function compressionOf(first: Buffer): Compression {
  if (first.length >= 3 && first[0] === 0x1f && first[1] === 0x8b && first[2] === 8) return 'gzip';
  if (first.length < 4) return 'none';
  const magic = first.readUInt32LE(0);
  // Skippable frames (0x184D2A50-5F) may come first, as in zstd:chunked.
  const isZstd = magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
  if (isZstd) return 'zstd';
  const other = others.find(([, begin]) => first.toString('latin1', 0, begin.length) === begin);
  if (other === undefined) return 'none';
  throw new LayerBytesWrong(
    `the layer is compressed with ${other[0]}; layers are compressed with gzip, zstd or not at all`,
  );
}

/** What no image may use, but somebody's tar may. */
const others: readonly (readonly [name: string, begin: string])[] = [
  ['xz', '\xfd7zXZ'],
  ['bzip2', 'BZh'],
  ['lz4', '\x04"M\x18'],
  ['zip', 'PK\x03\x04'],
];

/** Writes a source into a duplex stream and reads what comes out, whoever fails first. */
async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Duplex,
): AsyncGenerator<Uint8Array> {
  const input = Readable.from(source, { objectMode: false });
  input.on('error', (error) => transform.destroy(error));
  input.pipe(transform);
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
    // A compressor may end before its input does; the rest still counts for the digest.
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
}

/** By Node's zlib where it has zstd (22.15 and later), else by the zstd program. */
async function* unzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const create: unknown = Reflect.get(zlib, 'createZstdDecompress');
  if (typeof create === 'function') {
    yield* through(source, (create as () => Duplex)());
    return;
  }
  const program = spawn('zstd', ['-dcq'], { stdio: ['pipe', 'pipe', 'pipe'] });
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
  // EPIPE when the program ends early; its exit code says why.
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
