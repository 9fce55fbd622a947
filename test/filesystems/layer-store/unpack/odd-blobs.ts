/** One tar in blobs of every kind, by media type and compression, whole and broken. */
import { execFileSync } from 'node:child_process';
import { deflateRawSync, gzipSync } from 'node:zlib';

import { archiveEnd, entryOf, tarOf } from '../../../../scripts/rig/tar.js';
import { digestOf } from '../../../../src/filesystems/layer-store/digest.js';
import type { Blob } from './comparison.js';
import { plainType } from './comparison.js';

export interface OddBlob {
  readonly name: string;
  readonly blob: Blob;
  readonly containerd: 'unpacks' | 'refuses';
}

const dockerType = 'application/vnd.docker.image.rootfs.diff.tar';

const tar = tarOf([
  { name: 'seen', content: 'x'.repeat(3000) },
  { name: 'd/', type: 'directory', mode: 0o755 },
]);
const hidden = Buffer.concat([entryOf({ name: 'hidden' }), entryOf({ name: '.wh.f' }), archiveEnd]);
const junk = Buffer.from('junk');

const zstd = (input: Buffer, ...more: string[]): Buffer =>
  execFileSync('zstd', ['-cq', ...more], { input });
/** A frame that zstd skips (RFC 8878, 3.1.2). */
const skippable = Buffer.concat([
  Buffer.from('\x5a\x2a\x4d\x18\x05\x00\x00\x00', 'latin1'),
  Buffer.from('skip!'),
]);

const odd =
  (containerd: 'unpacks' | 'refuses') =>
  (name: string, bytes: Buffer, mediaType: string, inside: Buffer = tar): OddBlob => {
    return { name, blob: { bytes, mediaType, diffId: digestOf(inside) }, containerd };
  };
const unpacks = odd('unpacks');
const refuses = odd('refuses');

const gzip = gzipSync(tar);
const whole = Buffer.concat([tar, hidden]);

/** A gzip member with a name, a comment, extra bytes and a checksum of its header (RFC 1952). */
function decorated(): Buffer {
  const plain = gzipSync(tar);
  const header = Buffer.from('\x1f\x8b\x08\x1c\0\0\0\0\0\xff\x04\0abcdname\0comment\0', 'latin1');
  return Buffer.concat([header, deflateRawSync(tar), plain.subarray(-8)]);
}

export const oddBlobs: readonly OddBlob[] = [
  unpacks('gzip', gzip, `${plainType}+gzip`),
  unpacks(
    'gzip in two members, cut anywhere',
    Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
    `${plainType}+gzip`,
  ),
  unpacks(
    'gzip with an empty member',
    Buffer.concat([gzip, gzipSync(Buffer.alloc(0))]),
    `${plainType}+gzip`,
  ),
  unpacks(
    'gzip with what follows the end in a member of its own',
    Buffer.concat([gzip, gzipSync(hidden)]),
    `${plainType}+gzip`,
    whole,
  ),
  unpacks(
    'gzip with what follows the end in the same member',
    gzipSync(whole),
    `${plainType}+gzip`,
    whole,
  ),
  unpacks('gzip with everything its header can have', decorated(), `${plainType}+gzip`),
  refuses('gzip with junk after it', Buffer.concat([gzip, junk]), `${plainType}+gzip`),
  refuses(
    'gzip with zeros after it',
    Buffer.concat([gzip, Buffer.alloc(512)]),
    `${plainType}+gzip`,
  ),
  refuses(
    'gzip with the beginning of a member after it',
    Buffer.concat([gzip, gzip.subarray(0, 1)]),
    `${plainType}+gzip`,
  ),
  refuses(
    'gzip with a member after it that is cut',
    Buffer.concat([gzip, gzip.subarray(0, 30)]),
    `${plainType}+gzip`,
  ),
  refuses('gzip that is cut', gzip.subarray(0, -1), `${plainType}+gzip`),
  refuses('gzip that is cut in its header', gzip.subarray(0, 9), `${plainType}+gzip`),
  refuses('gzip with a wrong checksum', flipped(gzip, gzip.length - 6), `${plainType}+gzip`),
  refuses('gzip with a wrong length', flipped(gzip, gzip.length - 2), `${plainType}+gzip`),
  unpacks('zstd', zstd(tar), `${plainType}+zstd`),
  unpacks(
    'zstd in two frames',
    Buffer.concat([zstd(tar.subarray(0, 700)), zstd(tar.subarray(700))]),
    `${plainType}+zstd`,
  ),
  unpacks(
    'zstd with frames to skip',
    Buffer.concat([skippable, zstd(tar), skippable]),
    `${plainType}+zstd`,
  ),
  unpacks(
    'zstd with a window of 512 MiB',
    zstd(tar, '--ultra', '-22', '--long=29'),
    `${plainType}+zstd`,
  ),
  unpacks(
    'zstd with what follows the end in a frame of its own',
    Buffer.concat([zstd(tar), zstd(hidden)]),
    `${plainType}+zstd`,
    whole,
  ),
  refuses('zstd with junk after it', Buffer.concat([zstd(tar), junk]), `${plainType}+zstd`),
  refuses('zstd that is cut', zstd(tar).subarray(0, -1), `${plainType}+zstd`),
  refuses(
    'zstd with a frame after it that is cut',
    Buffer.concat([zstd(tar), zstd(hidden).subarray(0, -1)]),
    `${plainType}+zstd`,
    whole,
  ),
  refuses(
    'zstd with a wrong checksum',
    flipped(zstd(tar, '--check'), zstd(tar, '--check').length - 1),
    `${plainType}+zstd`,
  ),
  unpacks('gzip that is called zstd', gzip, `${plainType}+zstd`),
  unpacks('zstd that is called gzip', zstd(tar), `${plainType}+gzip`),
  unpacks('no compression that is called gzip', tar, `${plainType}+gzip`),
  unpacks('no compression', tar, plainType),
  refuses('gzip that is called no compression', gzip, plainType),
  refuses('gzip that is called no compression, and the tar is that', gzip, plainType, gzip),
  unpacks(
    'a layer that is not distributed',
    gzip,
    'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  ),
  unpacks('gzip of docker', gzip, `${dockerType}.gzip`),
  unpacks('gzip of docker that is called no compression', gzip, dockerType),
  unpacks('no compression of docker', tar, dockerType),
  unpacks('zstd of docker that is called gzip', zstd(tar), `${dockerType}.gzip`),
  refuses('another tar than the image says', gzipSync(whole), `${plainType}+gzip`),
  unpacks('nothing', Buffer.alloc(0), `${plainType}+gzip`, Buffer.alloc(0)),
  refuses('xz', Buffer.concat([Buffer.from('\xfd7zXZ\0', 'latin1'), tar]), `${plainType}+gzip`),
];

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}
