/** A layer of one file, the same bytes every time, and its chain id. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { tarOf } from '../../../scripts/rig/tar.js';

export async function writeLayerTar(path: string): Promise<string> {
  const bytes = tarOf([{ name: 'hello', content: 'hello\n', mode: 0o644, mtime: 0 }]);
  await writeFile(path, bytes);
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
