/** The documents that are generated stand in the repository as the code would write them today. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { documents } from '../../scripts/docs/documents.js';

describe('generated documents', () => {
  it.each(documents.map(({ path, text }) => [path, text] as const))(
    '%s is what the code says; after a change, run: npm run docs',
    async (path, text) => {
      expect(readFileSync(path, 'utf8')).toBe(await text());
    },
  );
});
