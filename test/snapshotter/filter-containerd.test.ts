/**
 * Goal: filters match what containerd's own snapshot store matches. Method: a small Go program
 * walks containerd's metadata store with the tables and with generated filters; any difference
 * is a failure. A run prints its seeds, and takes one back from FILTER_TEST_SEED.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { list, MATCHING, REFUSED, SNAPSHOTS } from './filter-tables.js';
import { fromSeed, patterns, quoteForGo, scraps, sentences } from './filter-texts.js';

const GO_ENVIRONMENT = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '' };
const hasGo = spawnSync('go', ['version']).status === 0;

describe.skipIf(!hasGo)(
  `containerd's own store${hasGo ? '' : ' (skipped: go is not installed)'}`,
  () => {
    let directory = '';

    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), 'stratalog-filter-test-'));
      // Fails, rather than skips, without Debian's golang-github-containerd-containerd-dev.
      execFileSync('go', ['build', '-o', join(directory, 'filters'), 'filters.go'], {
        cwd: join(import.meta.dirname, 'go'),
        env: { ...process.env, ...GO_ENVIRONMENT },
        timeout: 300_000,
      });
    }, 310_000);

    afterAll(() => {
      rmSync(directory, { recursive: true, force: true });
    });

    /** What containerd answers: sorted names, or null where it refuses. */
    function containerdLists(queries: readonly (readonly string[])[]): unknown[] {
      const snapshots = SNAPSHOTS.map((info) => ({
        ...info,
        labels: Object.fromEntries(info.labels),
      }));
      const answer = execFileSync(join(directory, 'filters'), {
        input: JSON.stringify({ snapshots, queries }),
        maxBuffer: 256 * 1024 * 1024,
        timeout: 60_000,
      });
      const lists: unknown = JSON.parse(answer.toString());
      if (!Array.isArray(lists) || lists.length !== queries.length)
        throw new Error('not one answer each');
      return lists.map((names: unknown) =>
        Array.isArray(names) ? names.map(String).sort() : null,
      );
    }

    function compare(queries: readonly (readonly string[])[]): {
      refused: number;
      matched: number;
    } {
      const theirs = containerdLists(queries);
      const ours = queries.map((filters) => {
        const names = list(...filters);
        return Array.isArray(names) ? names : null;
      });
      const differences = queries
        .map((filters, index) => ({ filters, ours: ours[index], containerd: theirs[index] }))
        .filter((row) => JSON.stringify(row.ours) !== JSON.stringify(row.containerd));
      expect(differences).toEqual([]);
      return {
        refused: ours.filter((names) => names === null).length,
        matched: ours.filter((names) => names !== null && names.length > 0).length,
      };
    }

    test('agrees with the tables', () => {
      const counts = compare([
        [],
        ['name==run', ''],
        ...MATCHING.map(([, filter]) => [filter]),
        ...REFUSED.map(([, filter]) => [filter]),
      ]);
      expect(counts.refused).toBe(REFUSED.length);
    });

    test('agrees on generated filters that parse', () => {
      const counts = compare(
        fc.sample(fc.array(sentences(), { minLength: 1, maxLength: 2 }), fromSeed(4000)),
      );
      expect(counts).toMatchObject({ refused: 0 });
      expect(counts.matched).toBeGreaterThan(1000);
    });

    test('agrees on generated scraps of filters', () => {
      const counts = compare(fc.sample(scraps(), fromSeed(20_000)).map((filter) => [filter]));
      expect(counts.refused).toBeGreaterThan(1000);
      expect(counts.matched).toBeGreaterThan(100);
    });

    test('agrees on generated regular expressions', () => {
      const counts = compare(
        fc
          .sample(patterns(), fromSeed(10_000))
          .map((pattern) => [`name~=${quoteForGo(pattern, 'octal')}`]),
      );
      expect(counts.refused).toBe(0);
      expect(counts.matched).toBeGreaterThan(500);
    });
  },
);
