/**
 * Goal: List's filters mean what they mean in containerd, at any size. Method: the tables of
 * filter-tables.ts, and properties over arbitrary text. That the tables tell the truth is checked
 * in filter-containerd.test.ts.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  asTargetQuery,
  FILTERS_LENGTH_MAX,
  parseFilters,
  PATTERNS_LENGTH_MAX,
} from '../../src/snapshotter/filter/filter.js';
import { ALL, list, MATCHING, REFUSED, snapshot, SNAPSHOTS } from './filter-tables.js';
import { patterns, quoteForGo, scraps, wireText } from './filter-texts.js';

describe('what filters match', () => {
  test('an empty list matches all', () => {
    expect(list()).toEqual(ALL);
  });

  test.each(MATCHING)('%s: %j', (_rule, filter, names) => {
    expect(list(filter)).toEqual([...names].sort());
  });

  test('list entries are OR-ed', () => {
    expect(list('name==run', 'name==look')).toEqual(['look', 'run']);
  });

  test('an empty string among others matches all', () => {
    expect(list('name==run', '')).toEqual(ALL);
  });

  test.each(['labels', 'labels.""', '"labels"==nameless'])(
    '%j finds an empty label key',
    (text) => {
      const filter = parseFilters([text]);
      if (!filter.ok) throw new Error(filter.refusal.message);
      const labels = new Map([['', 'nameless']]);
      expect(filter.value({ name: 'n', parent: '', kind: 'view', labels })).toBe(true);
      expect(filter.value({ name: 'n', parent: '', kind: 'view', labels: new Map() })).toBe(false);
    },
  );

  // The one known difference: Go compiles such a pattern, re2js calls it bad.
  test('a pattern with two groups of one name matches nothing', () => {
    expect(list('name~=/(?P<n>r)(?P<n>u)/')).toEqual([]);
    expect(list('name~=/(?P<n>r)(?P<m>u)/')).toEqual(['run']);
  });

  test('a label named __proto__ is a key like any other', () => {
    const filter = parseFilters(['labels.__proto__']);
    if (!filter.ok) throw new Error(filter.refusal.message);
    const labels = new Map([['__proto__', 'x']]);
    expect(filter.value({ name: 'n', parent: '', kind: 'view', labels })).toBe(true);
    expect(filter.value({ name: 'n', parent: '', kind: 'view', labels: new Map() })).toBe(false);
  });
});

describe('what filters are refused', () => {
  test.each(REFUSED)('%s: %j', (_rule, filter, byte) => {
    const parsed = parseFilters([filter]);
    if (parsed.ok) throw new Error('was accepted');
    expect(parsed.refusal.name).toBe('InvalidFilter');
    expect(parsed.refusal.message).toContain(`(at byte ${byte})`);
  });

  test('one bad filter refuses the list, whatever the others match', () => {
    expect(parseFilters(['', 'name==']).ok).toBe(false);
  });
});

describe('the query for a target', () => {
  const query = 'labels."containerd.io/snapshot.ref"==sha256:ab,parent=="sha256:0"';

  test('is recognised in either order, quoted or not', () => {
    const target = { ref: 'sha256:ab', parent: 'sha256:0' };
    expect(asTargetQuery([query])).toEqual(target);
    expect(asTargetQuery([query.split(',').reverse().join(',')])).toEqual(target);
    expect(
      asTargetQuery(['parent==sha256:0, labels.containerd."io/snapshot".ref == "sha256:ab"']),
    ).toEqual(target);
  });

  test('is recognised without a parent', () => {
    expect(asTargetQuery(['labels."containerd.io/snapshot.ref"==r,parent==""'])).toEqual({
      ref: 'r',
      parent: '',
    });
  });

  test.each([
    [[]],
    [['']],
    [[query, query]],
    [[query, '']],
    [[`${query},kind==committed`]],
    [['labels."containerd.io/snapshot.ref"==r']],
    [['labels."containerd.io/snapshot.ref"=="",parent==""']],
    [['labels."containerd.io/snapshot.ref"==r,parent']],
    [['labels."containerd.io/snapshot.ref"==r,parent!=p']],
    [['labels."containerd.io/snapshot.ref"~=r,parent==p']],
    [['labels."containerd.io/snapshot.ref"==r,name==p']],
    [['labels."containerd.io/snapshot.other"==r,parent==p']],
    [['labels."containerd.io/snapshot.ref"=="\\xff",parent==p']],
    [['parent==p,parent==p']],
    [['labels."containerd.io/snapshot.ref"==r s,parent==p']],
  ])('is not %j', (filters) => {
    expect(asTargetQuery(filters)).toBeNull();
  });
});

describe('properties', () => {
  test('parsing and matching never throw', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string({ unit: 'binary' }), scraps()), { maxLength: 3 }),
        (filters) => {
          const parsed = parseFilters(filters);
          if (parsed.ok) SNAPSHOTS.forEach((info) => parsed.value(info));
          else expect(parsed.refusal.name).toBe('InvalidFilter');
          asTargetQuery(filters);
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('any pattern compiles or matches nothing, and never throws', () => {
    fc.assert(
      fc.property(patterns(), (text) => {
        expect(Array.isArray(list(`name~=${quoteForGo(text, 'bytes')}`))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('a quoted key and value match exactly that label', () => {
    const style = fc.constantFrom('bytes' as const, 'octal' as const, 'unicode' as const);
    fc.assert(
      fc.property(wireText, wireText, wireText, style, (key, value, other, how) => {
        const parsed = parseFilters([`labels.${quoteForGo(key, how)}==${quoteForGo(value, how)}`]);
        if (!parsed.ok) throw new Error(parsed.refusal.message);
        const holds = (labels: ReadonlyMap<string, string>): boolean =>
          parsed.value({ name: 'n', parent: '', kind: 'active', labels });
        expect(holds(new Map([[key, value]]))).toBe(true);
        expect(holds(new Map([[key, `${value}x`]]))).toBe(false);
        expect(holds(new Map([[key, other]]))).toBe(other === value);
        expect(holds(new Map([[other, value]]))).toBe(other === key);
        expect(holds(new Map())).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  test('the query for a target is recognised for any ref and parent', () => {
    fc.assert(
      fc.property(
        wireText.filter((text) => text !== ''),
        wireText,
        (ref, parent) => {
          const filter =
            `labels."containerd.io/snapshot.ref"==${quoteForGo(ref, 'unicode')},` +
            `parent==${quoteForGo(parent, 'bytes')}`;
          expect(asTargetQuery([filter])).toEqual({ ref, parent });
        },
      ),
    );
  });
});

describe('hostile size', () => {
  const long = 250_000;
  test.each([
    ['quotes', `name=="${'a'.repeat(long)}"`],
    ['escapes', `name=="${'\\x41'.repeat(long / 4)}"`],
    ['a quote never closed', `name=="${'\\"'.repeat(long / 2)}`],
    ['a plain value', `name==${'é'.repeat(long)}`],
    ['white space', ' '.repeat(long)],
    ['an operator', `name${'='.repeat(long)}`],
    ['field parts', `labels${'.a'.repeat(long / 2)}`],
    ['selectors', 'a,'.repeat(long / 2) + 'a'],
  ])('%s', (_what, filter) => {
    // Linear reading takes some 30 ms; anything quadratic takes longer than a test may.
    expect(list(filter)).toBeDefined();
  });

  test('filters up to the limit are taken, and past it refused', () => {
    const filter = `name==${'a'.repeat(FILTERS_LENGTH_MAX / 2 - 6)}`;
    expect(list(filter, filter)).toEqual([]);
    expect(list(filter, filter, 'a')).toHaveProperty('refused');
    expect(asTargetQuery([`${filter}${filter}a`])).toBeNull();
  });

  test('patterns up to the limit are taken, and past it refused', () => {
    const half = `name~=${'a'.repeat(PATTERNS_LENGTH_MAX / 2)}`;
    expect(list(half, half)).toEqual([]);
    expect(list(`${half},${half}`)).toEqual([]);
    expect(list(half, half, 'name~=a')).toHaveProperty('refused');
  });

  test.each([
    ['deep groups', '('.repeat(2000) + ')'.repeat(2000)],
    ['backtracking', '(x?){500}x{500}$'],
    ['nested stars', '((((x*)*)*)*)*y$'],
    ['large repetition', 'x{1000}'.repeat(4)],
  ])('a pattern of %s', (_what, pattern) => {
    const filter = parseFilters([`name~=|${pattern}|`]);
    if (!filter.ok) throw new Error(filter.refusal.message);
    // Backtracking would take longer than a test may.
    expect(typeof filter.value(snapshot('x'.repeat(400), '', 'active'))).toBe('boolean');
  });

  test.each([
    ['repeated repetition', `(${'('.repeat(5)}x{1000})${'{1000})'.repeat(5)}`],
    ['large repetition', 'x{1000}'.repeat(100)],
  ])('a pattern of %s is past the limit', (_what, pattern) => {
    expect(list(`name~=|${pattern}|`)).toHaveProperty('refused');
  });
});
