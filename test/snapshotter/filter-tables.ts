/**
 * The rules of filters as tables, each with its opposite, over snapshots that have one of every
 * oddity. Shared by the tests of the rules and by the comparison with containerd.
 */
import type { Filterable } from '../../src/snapshotter/filter/filter.js';
import { parseFilters } from '../../src/snapshotter/filter/filter.js';

export const snapshot = (
  name: string,
  parent: string,
  kind: Filterable['kind'],
  labels: Readonly<Record<string, string>> = {},
): Filterable => ({ name, parent, kind, labels: new Map(Object.entries(labels)) });

export const SNAPSHOTS: readonly Filterable[] = [
  snapshot('base', '', 'committed', { 'containerd.io/snapshot.ref': 'sha256:ab', a: '1' }),
  snapshot('sha256:ab', 'base', 'committed', { 'a.b': 'x y', 'a.b/c-d': '/srv', empty_: 'é' }),
  snapshot('run', 'sha256:ab', 'active', { a: '2', q: 'say "A" \\ |x|', emoji: '👩‍🚀' }),
  snapshot('look', 'base', 'view', { n: 'line\nbreak', 'é.ü': 'ABC' }),
  snapshot('/var/lib/x y', '', 'active'),
  snapshot('\u{10FFFF}a\uFFFDb', '', 'view', { A: '\u0085\u00a0', __proto__x: '.', c: ',' }),
];

/** The names a List with these filters shows, or why it was refused. */
export function list(...filters: string[]): string[] | { readonly refused: string } {
  const filter = parseFilters(filters);
  if (!filter.ok) return { refused: filter.refusal.message };
  return SNAPSHOTS.filter(filter.value)
    .map((info) => info.name)
    .sort();
}

export const ALL = SNAPSHOTS.map((info) => info.name).sort();
const allBut = (...names: string[]): string[] => ALL.filter((name) => !names.includes(name));

export const MATCHING: readonly (readonly [
  rule: string,
  filter: string,
  names: readonly string[],
])[] = [
  ['an empty string matches all', '', ALL],
  ['kind', 'kind==active', ['/var/lib/x y', 'run']],
  ['kind', 'kind==view', ['look', '\u{10FFFF}a\uFFFDb']],
  ['kind', 'kind==committed', ['base', 'sha256:ab']],
  ['kind has no other names', 'kind==Active', []],
  ['name', 'name==run', ['run']],
  ['commas AND', 'kind==committed,parent==base', ['sha256:ab']],
  ['a colon inside a plain value', 'name==sha256:ab', ['sha256:ab']],
  ['a slash inside a plain value', 'name==a/b', []],
  ['an equals sign inside a plain value', 'name==a=b', []],
  ['quotes, dots and bars inside a plain value', 'name==a"b.c|d', []],
  ['a name with a slash in quotes', 'name=="/var/lib/x y"', ['/var/lib/x y']],
  ['no parent', 'parent==""', ['/var/lib/x y', 'base', '\u{10FFFF}a\uFFFDb']],
  ['some parent', 'parent!=""', ['look', 'run', 'sha256:ab']],
  ['parent is always present', 'parent', ALL],
  ['name is always present', 'name', ALL],
  ['what follows name is ignored', 'name.x==run', ['run']],
  ['label present', 'labels.a', ['base', 'run']],
  ['label equal', 'labels.a==1', ['base']],
  ['label differs, or is absent', 'labels.a!=1', allBut('base')],
  ['an absent label compares as empty', 'labels.a!=""', ['base', 'run']],
  ['an absent label is not equal to empty', 'labels.a==""', []],
  ['label parts are joined by dots', 'labels.a.b', ['sha256:ab']],
  ['a dotted key in quotes', 'labels."a.b"=="x y"', ['sha256:ab']],
  ['a key partly in quotes', 'labels.a."b/c-d"', ['sha256:ab']],
  ['a key with slash and dash in quotes', 'labels."a.b/c-d"=="/srv"', ['sha256:ab']],
  ['labels alone asks for the empty key, which containerd cannot store', 'labels', []],
  ['a key with the quote of the field', '"labels"."a"', ['base', 'run']],
  ['an unknown field is absent', 'size', []],
  ['an unknown field equals nothing', 'size==""', []],
  ['an unknown field differs from all', 'size!=1', ALL],
  ['an unknown field matches as empty', 'size~=^$', ALL],
  ['a field begun by a digit', '0==1', []],
  [
    'a pattern is unanchored',
    'name~=a',
    ['/var/lib/x y', 'base', 'sha256:ab', '\u{10FFFF}a\uFFFDb'],
  ],
  ['a pattern in slashes', 'name~=/^sha256:[0-9a-f]+$/', ['sha256:ab']],
  ['a pattern in bars', 'name~=|^/var/|', ['/var/lib/x y']],
  ['a pattern in double quotes', 'name~="^(run|look)$"', ['look', 'run']],
  [
    'a comma in a quoted pattern',
    'name~=/^.{3,4}$/',
    ['base', 'look', 'run', '\u{10FFFF}a\uFFFDb'],
  ],
  ['a delimiter escaped inside a pattern', 'name~=/^\\/var/', ['/var/lib/x y']],
  ['a class escape needs two backslashes', 'name~=/\\\\d{3}/', ['sha256:ab']],
  ['a class escape in a plain pattern', 'name~=\\d', ['sha256:ab']],
  ['a pattern against an absent label', 'labels.a~=^$', allBut('base', 'run')],
  ['a bad pattern matches nothing', 'name~=/(/', []],
  ['look-ahead is no RE2', 'name~=/(?=b)/', []],
  ['a repetition of a repetition is no RE2, however often', 'name~="^{9,}*{9,}{9,}{9,}"', []],
  ['a pattern ignoring case', 'name~=/(?i)^RUN$/', ['run']],
  ['white space before each piece', ' kind == active,\tname\n==\u00a0run', ['run']],
  ['white space after a dot', 'labels. a', ['base', 'run']],
  ['U+0085 is white space', 'name==\u0085run', ['run']],
  ['simple escapes', 'labels.n=="line\\nbreak"', ['look']],
  ['escaped quote and backslash', 'labels.q=="say \\"\\x41\\" \\\\ |x|"', ['run']],
  ['\\x', 'name=="\\x72un"', ['run']],
  ['\\u', 'name=="\\u0072un"', ['run']],
  ['\\U', 'name=="\\U00000072un"', ['run']],
  ['octal', 'name=="\\162un"', ['run']],
  ['bytes of one character in two escapes', 'labels.empty_=="\\xc3\\251"', ['sha256:ab']],
  ['bytes that are no UTF-8 equal nothing', 'name=="\\xff"', []],
  ['bytes that are no UTF-8 differ from all', 'name!="\\xff"', ALL],
  ['bytes that are no UTF-8 are a bad pattern', 'name~="\\xff|run"', []],
  ['bytes that are no UTF-8 name no label', 'labels."\\xff"', []],
  ['\\U beyond 31 bits leaves its last byte', 'name=="\\U80000072un"', ['run']],
  ['a surrogate escape becomes U+FFFD', 'name=="\\U0010ffffa\\ud800b"', ['\u{10FFFF}a\uFFFDb']],
  ['a leading byte order mark is kept', 'name=="\\xef\\xbb\\xbfrun"', []],
  ['a plain value may begin with a control character', 'name==\u0001', []],
];

export const REFUSED: readonly (readonly [rule: string, filter: string, byte: number])[] = [
  ['white space alone', ' ', 1],
  ['a comma alone', ',', 0],
  ['a comma at the end', 'name==a,', 8],
  ['two commas', 'name==a,,name==b', 8],
  ['a dot first', '.name', 0],
  ['a dot at the end of a field', 'labels.', 7],
  ['a dash in an unquoted key', 'labels.a-b', 8],
  ['a slash in an unquoted key', 'labels.a/b==x', 8],
  ['no value', 'name==', 6],
  ['no value before a comma', 'name==,kind==view', 6],
  ['a value begun by a dot', 'name==.a', 6],
  ['a value begun by a slash', 'name==/x', 6],
  ['a value quoted in slashes', 'name==/x/', 6],
  ['a value quoted in bars', 'name!=|x|', 6],
  ['a field quoted in slashes', '/name/==x', 0],
  ['one equals sign', 'name=a', 4],
  ['three equals signs', 'name===a', 4],
  ['an operator run together with a value', 'name==!a', 4],
  ['an operator after an operator', 'name== =a', 7],
  ['an operator alone', '==', 0],
  ['the pattern operator reversed', 'name=~a', 4],
  ['white space after a plain value', 'name==a ', 7],
  ['white space before a comma', 'name==a ,kind==view', 7],
  ['white space after a quoted value', 'name=="a" ', 9],
  ['white space after a lone field', 'name ', 5],
  ['white space before a dot', 'labels .a', 7],
  ['text after a quoted value', 'name=="a"b', 9],
  ['a quote that is not closed', 'name=="a', 6],
  ['a pattern that is not closed', 'name~=/a', 6],
  ['a closing quote that is escaped', 'name=="a\\"', 6],
  ['a line end in quotes', 'name=="a\nb"', 8],
  ['NUL in quotes', 'name=="a\0b"', 8],
  ['NUL as value', 'name==\0', 6],
  ['U+FFFD in quotes', 'name=="a\uFFFDb"', 8],
  ['U+FFFD in a plain value', 'name==a\uFFFDb', 7],
  ['a lone surrogate', 'name==a\uD800', 7],
  ['a format character in a plain value', 'name==a\u200Db', 7],
  ['a control character in a plain value', 'name==a\u0001', 7],
  ['an unknown escape', 'name=="\\d"', 7],
  ['the escape of another quote', 'name~=/\\"/', 7],
  ['the escape of a single quote', 'name=="\\\'"', 7],
  ['octal over one byte', 'name=="\\400"', 7],
  ['octal with two digits', 'name=="\\07"', 7],
  ['\\x with one digit', 'name=="\\x4"', 7],
  ['\\u with three digits', 'name=="\\u004"', 7],
  ['\\U over the last code point', 'name=="\\U00110000"', 7],
  ['an offset counts bytes', 'name=="éé" ', 12],
  ['a single quote', "name=='a b'", 8],
];
