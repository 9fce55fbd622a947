/** The files of the page, read once, so that a request can never reach another file. */
import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Asset {
  readonly type: string;
  readonly body: Buffer;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

// The same from dist/ui/ and from dist/bin/, where this is part of the command's one script.
const pageDirectory = fileURLToPath(new URL('../ui/page/', import.meta.url));

/** The files of the page by request path. */
export async function readAssets(directory = pageDirectory): Promise<ReadonlyMap<string, Asset>> {
  const assets = new Map<string, Asset>();
  for (const name of await readdir(directory)) {
    const type = types[extname(name)];
    if (type === undefined) continue;
    const path = name === 'index.html' ? '/' : `/${name}`;
    assets.set(path, { type, body: await readFile(join(directory, name)) });
  }
  return assets;
}
