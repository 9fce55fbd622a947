/** What the service is doing when it dies: each operation, and the quiet work behind it. */
import type { Scenario } from './enumerate.js';
import type { Step } from './session.js';

const base: readonly Step[] = [
  [{ call: 'Prepare', key: 'base key' }],
  { write: 'base key', text: 'the base' },
  [{ call: 'Commit', key: 'base key', name: 'base' }],
];

const filled = (key: string): readonly Step[] => [
  [{ call: 'Prepare', key, parent: 'base' }],
  { write: key, text: `written into ${key}` },
];

const remote = (ref: string, parent?: string): Step => [
  { call: 'Prepare', key: `${ref} key`, ref, ...(parent === undefined ? {} : { parent }) },
];

const labelled = (value: string, name = 'base'): Step => [
  { call: 'Update', name, labels: { step: value } },
];

/** Longer than a sector, so that the write of a record with it can be torn wherever it begins. */
const long = '-'.repeat(512);

export const scenarios: readonly Scenario[] = [
  {
    name: 'Prepare and View',
    settings: {},
    setUp: base,
    act: [
      [{ call: 'Prepare', key: 'a', parent: 'base' }],
      [{ call: 'View', key: `v${long}`, parent: 'base' }],
    ],
    passes: ['before mkdir fs', 'within write N.seg', 'before the reply to View'],
    leadsTo: ['base committed', 'a active', `v${long} view`],
  },
  {
    name: 'Commit',
    settings: {},
    setUp: [...base, [{ call: 'Prepare', key: 'a', parent: 'base' }]],
    act: [{ write: 'a', text: 'not synced yet' }, [{ call: 'Commit', key: 'a', name: 'top' }]],
    passes: ['after sync of the write N.seg', 'before the reply to Commit'],
    leadsTo: ['base committed', 'top committed'],
  },
  {
    name: 'remote Prepare',
    settings: { layers: { one: 'fine', two: 'fine' } },
    setUp: [],
    act: [remote('one'), remote('two', 'one')],
    passes: ['before mount 1', 'after mount 2', 'before the reply to Prepare'],
    leadsTo: ['one committed', 'two committed'],
  },
  {
    name: 'remote Prepare that fails after its mount',
    settings: { layers: { one: 'dirty' } },
    setUp: [],
    act: [remote('one')],
    passes: ['after mount 1', 'before umount2 1', 'before the reply to Prepare'],
    leadsTo: ['one key active'],
  },
  {
    name: 'Remove',
    settings: { layers: { one: 'fine' } },
    setUp: [...base, ...filled('a'), [{ call: 'View', key: 'v', parent: 'base' }], remote('one')],
    act: [
      [{ call: 'Remove', name: 'a' }],
      [{ call: 'Remove', name: 'v' }],
      [{ call: 'Remove', name: 'one' }],
    ],
    passes: [
      'before unlinkat file',
      'after unlinkat fs',
      'before umount2 4',
      'before the reply to Remove',
    ],
    leadsTo: ['base committed'],
  },
  {
    name: 'Remove with async_remove, and Cleanup',
    settings: { layers: { one: 'fine' }, asynchronousRemove: true },
    setUp: [...base, ...filled('a'), remote('one')],
    act: [
      [{ call: 'Remove', name: 'a' }],
      [{ call: 'Remove', name: 'one' }],
      [{ call: 'Cleanup' }],
    ],
    passes: ['before the reply to Remove', 'before unlinkat file', 'before the reply to Cleanup'],
    leadsTo: ['base committed'],
  },
  {
    name: 'Update',
    settings: {},
    setUp: [...base, ...filled('a')],
    act: [labelled(long), labelled('2', 'a')],
    passes: ['within write N.seg', 'before the reply to Update'],
    leadsTo: ['base committed', 'a active'],
  },
  {
    name: 'checkpoint',
    settings: { checkpointEveryEvents: 4 },
    setUp: [...base, ...filled('a')],
    act: [labelled('1'), labelled('2'), labelled('3'), labelled('4')],
    passes: [
      'within write N.checkpoint.new',
      'after rename to N.checkpoint',
      'before unlink N.checkpoint',
    ],
    leadsTo: ['base committed', 'a active'],
  },
  {
    name: 'segment roll and retirement',
    settings: { segmentBytes: 4096, checkpointEveryEvents: 3, retainMillis: 0 },
    setUp: [...base, ...['u', 'v', 'w'].map((letter) => labelled(letter.repeat(1500)))],
    act: [labelled('x'.repeat(1500)), labelled('y'.repeat(1500)), labelled('z'.repeat(1500))],
    passes: ['after rename to N.seg', 'before write next.prepared', 'before unlink N.seg'],
    leadsTo: ['base committed'],
  },
  {
    name: 'all at once',
    settings: { layers: { one: 'fine' } },
    setUp: [...base, ...filled('a'), ...filled('b')],
    act: [
      [
        { call: 'Prepare', key: 'c', parent: 'base' },
        { call: 'Commit', key: 'a', name: 'top' },
        { call: 'Remove', name: 'b' },
        { call: 'Update', name: 'base', labels: { step: '1' } },
        { call: 'Prepare', key: 'one key', ref: 'one' },
      ],
    ],
    passes: ['before mkdir fs', 'before mount'],
    leadsTo: ['base committed', 'top committed', 'c active', 'one committed'],
  },
  {
    name: 'an orderly stop, and a start',
    settings: { layers: { one: 'fine' } },
    setUp: [...base, ...filled('a'), remote('one')],
    act: [[{ call: 'restart' }]],
    passes: ['after rename to N.checkpoint', 'before unlock', 'before lock'],
    leadsTo: ['base committed', 'a active', 'one committed'],
  },
  {
    name: 'the start after the power came back',
    settings: { layers: { one: 'fine', two: 'fine' } },
    begins: 'with the power back',
    setUp: [...base, remote('one'), remote('two', 'one')],
    act: [[{ call: 'Prepare', key: 'a', parent: 'two' }]],
    passes: ['before lock', 'before mount 2', 'after mount 3', 'before the reply to Prepare'],
    leadsTo: ['base committed', 'one committed', 'two committed', 'a active'],
  },
  {
    name: 'Prepare with directories made ahead',
    settings: { preallocatedDirectories: 2, layers: { one: 'fine' } },
    setUp: [...base, ...filled('a')],
    act: [
      [{ call: 'Prepare', key: 'b' }],
      [{ call: 'View', key: 'v', parent: 'base' }],
      remote('one'),
    ],
    passes: ['before mkdir fs', 'before the reply to View'],
    leadsTo: ['base committed', 'a active', 'b active', 'v view', 'one committed'],
  },
  {
    name: 'View with mapped ids, and its removal',
    settings: { layers: { one: 'fine' } },
    setUp: [...base, remote('one', 'base')],
    act: [
      [{ call: 'View', key: 'v', parent: 'one', mapped: true }],
      [{ call: 'Remove', name: 'v' }],
    ],
    passes: [
      'before move_mount 2',
      'after move_mount snapshots',
      'before umount2 X',
      'after rmdir 2',
      'before the reply to View',
    ],
    leadsTo: ['base committed', 'one committed'],
  },
  {
    name: 'a start with mapped ids after the power came back',
    settings: { layers: { one: 'fine' } },
    begins: 'with the power back',
    setUp: [
      ...base,
      remote('one', 'base'),
      [{ call: 'Prepare', key: 'a', parent: 'one', mapped: true }],
    ],
    act: [[{ call: 'Cleanup' }], [{ call: 'Prepare', key: 'b', parent: 'one', mapped: true }]],
    passes: ['before move_mount 2', 'after move_mount snapshots', 'before the reply to Prepare'],
    leadsTo: ['base committed', 'one committed', 'a active', 'b active'],
  },
  {
    name: 'the first start of all',
    settings: {},
    begins: 'on an empty disk',
    setUp: [],
    act: base,
    passes: ['before mkdir log', 'after rename to identity.json', 'before mkdir snapshots'],
    leadsTo: ['base committed'],
  },
];
