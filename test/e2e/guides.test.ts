/**
 * Goal: the guides show what happens. Method: their stories are lived through again, and the pages
 * that come of it say the same as those in `docs`, but for times, durations, sizes and digests.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { guidePage, guides, placeOf } from '../../scripts/guides/guides.js';
import { comparable } from '../../scripts/guides/steady.js';

describe('guides', () => {
  it.each(guides)(
    'docs/guide-%s.md is what happens; when it differs: npm run guides',
    async (guide) => {
      const page = await guidePage(guide);
      expect(comparable(page)).toBe(comparable(readFileSync(placeOf(guide), 'utf8')));
    },
  );
});
