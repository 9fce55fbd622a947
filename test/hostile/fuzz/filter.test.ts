/**
 * Goal: no filter can occupy the one thread that serves everybody. Method: the size that a regular
 * expression is taken for is compared with the program that it compiles to. That no text makes the
 * parser throw is tried in test/snapshotter/filter.test.ts.
 */
import fc from 'fast-check';
import { RE2JS, RE2JSException } from 're2js';
import { describe, expect, it } from 'vitest';
import { parseFilters, PATTERNS_LENGTH_MAX } from '../../../src/snapshotter/filter/filter.js';
import { patternSize } from '../../../src/snapshotter/filter/pattern-size.js';
import { runs } from './runs.js';

const pieces = [
  ...['x', 'é', '👩', '.', '^', '$', '-', ':', ' ', '|', '}', ']', '{', '{,3}', '{a}'],
  ...['*', '+', '?', '*?', '{3}', '{0,7}', '{2,}', '{12}?', '{0}', '{1000}', '{1001}'],
  ...['(', '(?:', '(?i)', '(?P<n>', '(?<m>', '(?s:', ')', ')', ')'],
  ...['[', '[^', '[]', '[]-a]', '[a-z]', '[[:alpha:]]', '[^[:^space:]x]', '[\\]]', '[(]', '[)]'],
  ...[
    '\\',
    '\\d',
    '\\(',
    '\\)',
    '\\[',
    '\\{',
    '\\pL',
    '\\p{Greek}',
    '\\PN',
    '\\x41',
    '\\x{10FFFF}',
  ],
  ...['\\Q', '\\E', '\\Q(\\E', '\\Qx{9}\\E', '\\z', '\\A', '\\C'],
];
const pattern = fc
  .array(fc.constantFrom(...pieces), { maxLength: 14 })
  .map((chosen) => chosen.join(''));

/** Instructions of the program; null for no regular expression. */
function compiledSize(text: string): number | null {
  try {
    return RE2JS.compile(text).programSize();
  } catch (thrown) {
    if (thrown instanceof RE2JSException) return null;
    throw thrown;
  }
}

describe('the size of a pattern', () => {
  it('is never below what it compiles to', () => {
    let compiled = 0;
    fc.assert(
      fc.property(pattern, (text) => {
        const size = patternSize(text);
        expect(size).toBeGreaterThanOrEqual(0);
        // Some would take the time that this is about.
        if (size > 20_000) return;
        const instructions = compiledSize(text);
        if (instructions === null) return;
        compiled += 1;
        // Each program has a few of its own: to fail, to begin, to match.
        expect(instructions).toBeLessThanOrEqual(size + 8);
      }),
      runs(6_000),
    );
    expect(compiled).toBeGreaterThan(1_000);
  });

  it.each([
    ['sha256:[0-9a-f]{64}$', 200],
    ['^k8s\\.io/\\d{1,10}/sha256:[0-9a-f]{64}$', 250],
    ['(a+)+$', 20],
  ])('is small for %j', (text, most) => {
    expect(patternSize(text)).toBeLessThan(most);
  });

  it.each([
    'x{1000}'.repeat(10),
    '(?i)\\PL{1000}'.repeat(20),
    '((x{30}){30}){5}',
    '(x?){1000}'.repeat(5),
    'x{0,1000}'.repeat(400),
    'x{99999999999999999999}',
  ])('is what bounds %.20s', (text) => {
    expect(patternSize(text)).toBeGreaterThan(PATTERNS_LENGTH_MAX);
    const parsed = parseFilters([`name~=|${text.replaceAll('\\', '\\\\')}|`]);
    expect(parsed.ok ? 'taken' : parsed.refusal.message).toMatch(
      /regular expressions, with .* written out/,
    );
  });
});
