/** Generators of filters, and of what filters are made of. */
import fc from 'fast-check';
import { SNAPSHOTS } from './filter-tables.js';

/** Text as it can come over the wire: any code points, no lone surrogates. */
export const wireText = fc.string({ unit: 'binary', maxLength: 24 });

/** Go's quoting for anything: printable ASCII as it is, the rest in one of its escapes. */
export function quoteForGo(text: string, style: 'bytes' | 'octal' | 'unicode'): string {
  const escaped = Array.from(text, (character) => {
    if (/[ !#-[\]-~]/.test(character)) return character;
    if (style === 'unicode') {
      return `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`;
    }
    const bytes = [...Buffer.from(character)];
    return style === 'bytes'
      ? bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
      : bytes.map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  });
  return `"${escaped.join('')}"`;
}

/** Text made of the language's own pieces, so that much of it nearly parses. */
export function scraps(): fc.Arbitrary<string> {
  const pieces = [
    ...['name', 'parent', 'kind', 'labels', 'labels.a', 'labels."a.b/c-d"', 'size', '_', '""'],
    ...['==', '==', '==', '!=', '!=', '~=', '~=', '=', '!', '~', '.', ',', ',', ' ', '\t', '\n'],
    ...['"', '/', '|', "'", '\\', '\\"', '\\/', '\\|', '\\n', '\\x41', '\\101', '\\400', '\\xff'],
    ...['\\u00e9', '\\ud800', '\\U0001f469', '\\U00110000', '\\U80000041', '\\x4', '\\d', '\\\\d'],
    ...['run', 'base', 'active', '"run"', '/^r/', '|a$|', '(', '[', '.*', '^', '$', '-', ':', '@'],
    ...['é', '👩', '\u200d', '\u0085', '\u00a0', '\u2028', '\uFEFF', '\uFFFD', '\0', '\u0001'],
  ];
  return fc
    .array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 8 })
    .map((chosen) => chosen.join(''));
}

/** Filters that parse, so that what they match is compared too. */
export function sentences(): fc.Arbitrary<string> {
  const names = SNAPSHOTS.map((info) => info.name);
  const keys = SNAPSHOTS.flatMap((info) => [...info.labels.keys()]);
  const values = SNAPSHOTS.flatMap((info) => [...info.labels.values()]);
  const quoted = (texts: readonly string[]): fc.Arbitrary<string> =>
    fc
      .tuple(fc.constantFrom(...texts), fc.constantFrom('bytes', 'octal', 'unicode'))
      .map(([text, how]) => quoteForGo(text, how));
  const field = fc.oneof(
    fc.constantFrom(
      'name',
      'parent',
      'kind',
      'kind.x',
      'labels',
      'size',
      'labels.a',
      ' labels.a.b',
    ),
    quoted(keys).map((key) => `labels.${key}`),
  );
  const value = fc.oneof(
    quoted([...names, ...values, '', 'active', 'view', 'committed']),
    fc.constantFrom('run', 'base', ' sha256:ab', '1', 'active', '"\\xff"', 'a=b', 'a"b', '\u0001'),
  );
  const pattern = fc.constantFrom(
    ...['/a/', '|^/|', '^$', '""', '(', '/[[:digit:]]+/', '/\\\\d{3}/', '\\bab\\b', '/(?i)ABC/'],
    ...[
      '/^.{3,4}$/',
      '/\\\\pL/',
      '/[^\\\\x00-\\\\x{7f}]/',
      '\\C',
      '/(?s)e.b/',
      '/(?P<n>a)/',
      'a**',
    ],
    ...[
      'x{1001}',
      '(?=a)',
      '(?<!a)b',
      '\\1',
      '\\Qsha256\\E',
      '(?U)a+',
      '[a',
      '\\Z',
      '\\z',
      '[[:x:]]',
    ],
    ...[
      '\\p{Greek}',
      '\\p{Nope}',
      '\\x{FFFD}',
      '(?m)^break$',
      '\\pZ',
      '(?i)É',
      '[[:^alpha:]]',
      '\\8',
    ],
    ...[
      '(a{1000}){2}',
      '(?i:R)un',
      '\\a',
      '[\\d-z]',
      '[z-a]',
      '(?x)a',
      '(?>a)',
      'a{2',
      '{',
      '\\_',
      '\\e',
    ],
  );
  const selector = fc.oneof(
    field,
    fc.tuple(field, fc.constantFrom('==', '!=', ' == ', ' !='), value).map((all) => all.join('')),
    fc.tuple(field, pattern).map(([of, text]) => `${of}~=${text}`),
  );
  return fc.array(selector, { minLength: 1, maxLength: 3 }).map((all) => all.join(','));
}

/** A new seed for each run, printed, and taken back from FILTER_TEST_SEED. */
export function fromSeed(numRuns: number): { readonly seed: number; readonly numRuns: number } {
  const given = process.env['FILTER_TEST_SEED'];
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
  console.info(`FILTER_TEST_SEED=${seed}`);
  return { seed, numRuns };
}

/**
 * Regular expressions, good and bad, of the pieces of their language. Two groups of one name are
 * left out: Go takes them, re2js does not.
 */
export function patterns(): fc.Arbitrary<string> {
  return fc
    .array(
      fc.constantFrom(
        '(',
        ')',
        '[',
        ']',
        '*',
        '+',
        '?',
        '{2}',
        '{9,}',
        '|',
        '^',
        '$',
        '\\',
        'a',
        '\\b',
        '\\pL',
        '(?i)',
        '(?P<n>',
        '.',
        '-',
        'é',
        '\\Q',
        '\\E',
        '[[:word:]]',
        '\\x{1F600}',
      ),
      { maxLength: 12 },
    )
    .map((pieces) => pieces.join(''))
    .filter((pattern) => pattern.split('(?P<n>').length < 3);
}
