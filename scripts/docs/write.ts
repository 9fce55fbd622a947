/** `npm run docs`: writes the generated documents. Tests compare them with what it would write. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { documents } from './documents.js';

const repository = fileURLToPath(new URL('../../', import.meta.url));

for (const { path, text } of documents) {
  const file = `${repository}${path}`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, await text());
  console.log(`wrote ${path}`);
}
