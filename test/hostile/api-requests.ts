/**
 * Requests that are well formed and cannot be fulfilled, with what each is answered. The snapshots
 * they speak of are those of `ApiWorld.furnish`.
 */
import { Kind } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { GID_MAPPING_LABEL, TARGET_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import type { ApiWorld } from './api-world.js';
import type { HostileCase } from './case.js';

export type ApiCase = HostileCase<ApiWorld>;

type LabelList = readonly (readonly [string, string])[];

/** One row: a name, the call, the code, and what the message must say. */
function row(
  name: string,
  when: ApiCase['when'],
  code: string,
  ...message: readonly RegExp[]
): ApiCase {
  return { name, when, expected: { code, message } };
}

const prepare =
  (key: string, parent = '', labels: LabelList = []): ApiCase['when'] =>
  (world) =>
    world.call('prepare', { snapshotter: '', key, parent, labels: new Map(labels) });

const commit =
  (key: string, name: string, parent = '', labels: LabelList = []): ApiCase['when'] =>
  (world) =>
    world.call('commit', { snapshotter: '', key, name, parent, labels: new Map(labels) });

const named =
  (method: 'mounts' | 'remove' | 'stat' | 'usage', key: string): ApiCase['when'] =>
  (world) =>
    world.call(method, { snapshotter: '', key });

const update =
  (name: string, paths: readonly string[], labels: LabelList = []): ApiCase['when'] =>
  (world) => {
    const info = {
      name,
      parent: 'base',
      kind: Kind.VIEW,
      createdAt: { seconds: 2n ** 63n - 1n, nanos: -2_000_000_000 },
      updatedAt: { seconds: -(2n ** 63n), nanos: 2_000_000_000 },
      labels: new Map(labels),
    };
    return world.call('update', { snapshotter: '', info, updateMask: [...paths] });
  };

const list =
  (...filters: readonly string[]): ApiCase['when'] =>
  (world) =>
    world.call('list', { snapshotter: '', filters: [...filters] });

const invalid = 'INVALID_ARGUMENT';
const [unknown, exists, precondition] = ['NOT_FOUND', 'ALREADY_EXISTS', 'FAILED_PRECONDITION'];
const long = 'n'.repeat(32_769);

export const names: readonly ApiCase[] = [
  row('an empty key', prepare(''), invalid, /an empty key: invalid argument$/),
  row(
    'a key of 64 KiB',
    prepare('k'.repeat(65_536)),
    invalid,
    /key of 65536 bytes \(limit 32768\)/,
  ),
  row('a key of 1 MiB', prepare('k'.repeat(2 ** 20)), invalid, /key of 1048576 bytes/),
  row('a key a byte too long', prepare(long), invalid, /key of 32769 bytes/),
  row('a key too long in bytes alone', prepare('ü'.repeat(16_385)), invalid, /32770 bytes/),
  row('Commit to a name too long', commit('active', long), invalid, /name of 32769 bytes/),
  row('Commit to no name', commit('active', ''), invalid, /an empty name/),
  row('Commit of no key', commit('', 'new'), invalid, /an empty key/),
  row('Stat of no key', named('stat', ''), unknown, /snapshot "" does not exist/),
  row('Remove of no key', named('remove', ''), invalid, /an empty key/),
  row('Update of nobody', update('', []), invalid, /an empty name/),
  row('Stat of the unknown', named('stat', 'nobody'), unknown, /snapshot "nobody" does not exist/),
  row('Usage of the unknown', named('usage', 'nobody'), unknown, /"nobody" does not exist/),
  row('Mounts of the unknown', named('mounts', 'nobody'), unknown, /"nobody" does not exist/),
  row('Remove of the unknown', named('remove', 'nobody'), unknown, /"nobody" does not exist/),
  row('Commit of the unknown', commit('nobody', 'new'), unknown, /"nobody" does not exist/),
  row('Update of the unknown', update('nobody', []), unknown, /"nobody" does not exist/),
  row('a long unknown key is cut', named('stat', long), unknown, /n{256}… \(32769 characters\)/),
  row('Stat of ../..', named('stat', '../../../etc/passwd'), unknown, /does not exist/),
  row('Stat of __proto__', named('stat', '__proto__'), unknown, /"__proto__" does not exist/),
  row('Stat of constructor', named('stat', 'constructor'), unknown, /"constructor" does not/),
  row('Stat of a key with NUL', named('stat', 'base\0'), unknown, /"base\\u0000" does not exist/),
  row('Stat of a key and a line', named('stat', 'base\n'), unknown, /"base\\n" does not exist/),
  row('Stat of a byte-order mark', named('stat', '\ufeffbase'), unknown, /does not exist/),
  row('Stat in other case', named('stat', 'BASE'), unknown, /"BASE" does not exist/),
];

export const families: readonly ApiCase[] = [
  row('a parent that is not there', prepare('p', 'nobody'), unknown, /parent "nobody" does not/),
  row('a parent that is itself', prepare('self', 'self'), unknown, /parent "self" does not exist/),
  row('a parent that is its own key', prepare('active', 'active'), invalid, /"active" is active/),
  row('an active parent', prepare('p', 'active'), invalid, /only a committed snapshot can be/),
  row('a view as parent', prepare('p', 'view'), invalid, /parent "view" is a view/),
  row('a parent by number', prepare('p', '1'), unknown, /parent "1" does not exist/),
  row('a parent above the root', prepare('p', '../../..'), unknown, /does not exist: not found$/),
  row('a parent too long', prepare('p', long), unknown, /\(32769 characters\)/),
  row('a key in use', prepare('active'), exists, /named "active" is there: already exists$/),
  row('a key that is a layer', prepare('base'), exists, /named "base" is there/),
  row('Commit to a name in use', commit('active', 'base'), exists, /named "base" is there/),
  row('Commit to its own key', commit('active', 'active'), exists, /named "active" is there/),
  row('Commit of a view', commit('view', 'new'), precondition, /"view" is a view; only an active/),
  row('Commit of a layer', commit('base', 'new'), precondition, /"base" is committed; only an/),
  row('Commit on another parent', commit('active', 'new', 'base'), invalid, /has parent "child"/),
  row('Commit on itself', commit('active', 'new', 'active'), invalid, /"child", not "active"/),
  row('Commit on a new name', commit('active', 'new', 'new'), invalid, /"child", not "new"/),
  row('Remove with children', named('remove', 'base'), precondition, /cannot remove .*1 other/),
  row(
    'Remove with two children',
    named('remove', 'child'),
    precondition,
    /2 other\(s\) stand on it/,
  ),
  row('Mounts of a layer', named('mounts', 'base'), precondition, /committed and has no mounts/),
  row(
    'View of an active one',
    (world) =>
      world.call('view', { snapshotter: '', key: 'v', parent: 'active', labels: new Map() }),
    invalid,
    /only a committed snapshot can be a parent/,
  ),
];

const oversized: LabelList = [['k'.repeat(4_000), 'v'.repeat(97)]];
const manyLabels: LabelList = Array.from({ length: 600 }, (_, index) => [
  `k${index}`,
  'v'.repeat(4_000),
]);
const countless: LabelList = Array.from({ length: 300_000 }, (_, index) => [`${index}`, '']);
const uid = (mapping: string): ApiCase['when'] =>
  prepare('mapped', '', [[UID_MAPPING_LABEL, mapping]]);
const shape = /label ".*uidmapping": ".*" is not <container>:<host>:<size>/;

export const labels: readonly ApiCase[] = [
  row('a label over its bytes', prepare('l', '', oversized), invalid, /over 4096 bytes/),
  row('such a label on Commit', commit('active', 'new', '', oversized), invalid, /over 4096 bytes/),
  row('such a label on Update', update('active', [], oversized), invalid, /over 4096 bytes/),
  row('a label of nothing but key', prepare('l', '', [[long, '']]), invalid, /over 4096 bytes/),
  row('a large value of no key', prepare('l', '', [['', long]]), invalid, /label "": key and/),
  row('a large __proto__', prepare('l', '', [['__proto__', long]]), invalid, /"__proto__"/),
  row('labels too large together', prepare('l', '', manyLabels), invalid, /all labels together/),
  row('labels too many', prepare('l', '', countless), invalid, /all labels together are over/),
  row('a large label added', update('active', ['labels.x'], [['x', long]]), invalid, /label "x"/),
  row('a mapping of words', uid('root:root:1'), invalid, shape),
  row('a negative mapping', uid('0:-1:1'), invalid, shape),
  row('a mapping with a sign', uid('+0:0:1'), invalid, shape),
  row('a mapping in hex', uid('0x0:0:1'), invalid, shape),
  row('a mapping cut short', uid('0:1000'), invalid, shape),
  row('a mapping with more', uid('0:1000:1:1'), invalid, shape),
  row('a mapping of size 0', uid('0:1000:0'), invalid, shape),
  row('a mapping with blanks', uid('0: 1000:1'), invalid, shape),
  row('a mapping with a line', uid('0:1000:1\n'), invalid, shape),
  row('an empty range', uid('0:1000:1,'), invalid, shape),
  row('a mapping of huge ids', uid('0:99999999999:1'), invalid, shape),
  row('a mapping to no id', uid('0:4294967295:1'), invalid, /beyond 4294967294/),
  row('a mapping past the end', uid('0:4294967000:1000'), invalid, /beyond 4294967294/),
  row(
    'a mapping without root',
    uid('1:1000:65535'),
    invalid,
    /id 0 of the container is not mapped/,
  ),
  row('ranges over each other', uid('0:1000:10,5:9000:10'), invalid, /overlap/),
  row('ranges to the same ids', uid('0:1000:10,10:1005:10'), invalid, /overlap/),
  row(
    'a malformed gid mapping alone',
    prepare('mapped', '', [[GID_MAPPING_LABEL, 'x']]),
    invalid,
    /gidmapping": "x" is not/,
  ),
];

export const masks: readonly ApiCase[] = [
  ...[
    'name',
    'parent',
    'kind',
    'created_at',
    'updated_at',
    '*',
    'Labels',
    'label',
    '',
    'labels,',
  ].map((path) =>
    row(`the path ${JSON.stringify(path)}`, update('active', [path]), invalid, /only labels can/),
  ),
  row('a bad path behind a good one', update('active', ['labels.a', 'kind']), invalid, /"kind"/),
  row(
    'a path of 1 MiB',
    update('active', ['p'.repeat(2 ** 20)]),
    invalid,
    /\(1048576 characters\)/,
  ),
];

export const filters: readonly ApiCase[] = [
  row('an open quote', list('name=="a'), invalid, /the quote " is never closed \(at byte 6\)/),
  row('no operator', list('name a'), invalid, /expected ==, != or ~= after a field/),
  row('an unknown operator', list('name===a'), invalid, /=== is not an operator/),
  row('no value', list('name=='), invalid, /expected a value, found the end/),
  row('a comma at the end', list('name==a,'), invalid, /expected a field name, found the end/),
  row('an unknown escape', list('name=="\\d"'), invalid, /escape is not one of Go/),
  row('NUL in a filter', list('name=="a\0"'), invalid, /"\\u0000" cannot stand in quotes/),
  row('one bad among good', list('name==a', '!'), invalid, /filter "!"/),
  row('a filter of 1 MiB', list(`name==${'a'.repeat(2 ** 20)}`), invalid, /262144 characters/),
  row(
    '10,000 long ones',
    list(...Array<string>(10_000).fill(`name==${'a'.repeat(26)}`)),
    invalid,
    /262144/,
  ),
  row(
    'repetitions',
    list(`name~=/${'x{0,1000}'.repeat(400)}/`),
    invalid,
    /repetitions written out/,
  ),
];

/** What is well formed, strange, and answered all the same. */
export const answered: readonly ApiCase[] = [
  row('an unknown field', list('size==1'), 'OK'),
  row('a regular expression that is none', list('name~=/(/'), 'OK'),
  row('backtracking', list('name~=/(a+)+$/', `name~=/^(${'a?'.repeat(200)}){4}$/`), 'OK'),
  row('10,000 filters', list(...Array<string>(10_000).fill('kind==view')), 'OK'),
  row('100,000 empty filters', list(...Array<string>(100_000).fill('')), 'OK'),
  row(
    'a snapshotter of another name',
    (world) => world.call('stat', { snapshotter: '../x\0', key: 'base' }),
    'OK',
  ),
  row(
    'a remote layer nobody has, on a bad parent',
    prepare('r', 'nobody', [[TARGET_LABEL, 'sha256:x']]),
    unknown,
    /parent "nobody"/,
  ),
];
