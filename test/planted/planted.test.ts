/**
 * Goal: the planted bugs do not rot: `npm run planted` can put each of them into the tree as it
 * is. Method: git is asked whether the patch applies; nothing is changed.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plantedBugs } from './patches.js';

const repository = resolve(import.meta.dirname, '../..');

describe('planted bugs', () => {
  const bugs = plantedBugs();

  it.each(bugs)('$name applies, and names a check that is there', ({ path, caughtBy }) => {
    // Throws with what git says when it does not apply.
    execFileSync('git', ['apply', '--check', path], { cwd: repository, stdio: 'pipe' });
    expect(caughtBy === 'sim' || existsSync(resolve(repository, caughtBy))).toBe(true);
  });

  it('are many, and each is another', () => {
    expect(bugs.length).toBeGreaterThanOrEqual(15);
    expect(new Set(bugs.map(({ bug }) => bug)).size).toBe(bugs.length);
  });
});
