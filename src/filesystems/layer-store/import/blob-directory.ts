/**
 * Blobs as files under `blobs/sha256/`, the way both an OCI image layout and containerd's content
 * store keep them.
 */
import { createReadStream, lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { UsageError } from '../../../base/errors.js';
import type { Digest } from '../digest.js';
import { digestOf, hexOf } from '../digest.js';
import type { BlobStore } from './image-manifest.js';
import { documentBytesMax } from './image-manifest.js';

export function blobDirectory(root: string, description: string): BlobStore {
  const pathOf = (digest: Digest): string => {
    const path = join(root, 'blobs', 'sha256', hexOf(digest));
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined)
      throw new UsageError(`${description} does not hold the blob ${digest}`);
    // Symlinks too: a layout that was sent to us could otherwise have any file read.
    if (!stats.isFile()) throw new UsageError(`${path} is not a regular file`);
    return path;
  };
  return {
    description,
    readDocument: (digest) => {
      const path = pathOf(digest);
      if (lstatSync(path).size > documentBytesMax) {
        throw new UsageError(`${path} is too large for a manifest or a config`);
      }
      const bytes = readFileSync(path);
      if (digestOf(bytes) !== digest)
        throw new UsageError(`${path} is damaged: its digest differs`);
      return bytes;
    },
    stream: (digest, size) => {
      const path = pathOf(digest);
      const found = lstatSync(path).size;
      if (found !== size) {
        throw new UsageError(
          `${path} is damaged: ${found} bytes, expected ${size} as in its descriptor`,
        );
      }
      return createReadStream(path, { highWaterMark: 256 * 1024 });
    },
  };
}
