/**
 * Damaged roots, each made by a few lines, with what is found, what is done about it, and what
 * must be there afterwards. The sound log has 30 events in segments at 0, 8, 16 and 24; snapshots
 * 1 to 6 are layers on one another, 7 was removed at the end, 8 is a container. Where it has
 * checkpoints, they are at 12 and 26; `old` has lost its first segment to retirement.
 */
import type { Deeds } from './deeds.js';
import { RECORD } from '../../src/log/format.js';
import { OTHER_UUID } from './rig.js';

export type SoundName = 'plain' | 'checked' | 'old' | 'foreign' | 'empty';

export interface DamagedCase {
  readonly name: string;
  /** `plain` unless said. */
  readonly of?: SoundName;
  readonly damage: (deeds: Deeds, foreign: Deeds) => unknown;
  readonly finds: readonly string[];
  readonly wish?: { readonly fromDirectories?: boolean; readonly endAt?: number };
  /** `repair` unless said. */
  readonly kind?: 'sound' | 'impossible';
  /** Names of what is taken out, `identity.json` left out. */
  readonly takes?: readonly string[];
  /** Where the log goes on: all 30 events are kept unless said. */
  readonly end?: number;
  readonly start?: number;
  readonly lost?: readonly [from: number, to: number];
  readonly kept?: readonly number[];
  readonly salvaged?: readonly number[];
  /** Another epoch than 2. */
  readonly epoch?: number;
}

const segment = (first: number): string => `${first.toString().padStart(20, '0')}.seg`;
const checkpoint = (at: number): string => `${at.toString().padStart(20, '0')}.checkpoint`;

const S0 = segment(0);
const S8 = segment(8);
const S16 = segment(16);
const S24 = segment(24);
const C12 = checkpoint(12);
const C26 = checkpoint(26);

/** Of snapshots that are not known when the log ends here. */
const unownedFrom = (id: number): readonly number[] =>
  [1, 2, 3, 4, 5, 6, 8].filter((one) => one >= id);

const flips: readonly DamagedCase[] = [
  ...(
    [
      'magic',
      'crc',
      'headerLength',
      'epoch',
      'writtenBy',
      'uuid',
      'firstPosition',
      'previousFirstPosition',
      'created',
      'chain',
    ] as const
  ).map((field, index): DamagedCase => ({
    name: `a bit of the header field ${field} is flipped`,
    damage: (deeds) => deeds.flip(S8, [0, 8, 12, 20, 24, 64, 80, 88, 96, 104][index] ?? 0),
    finds: ['header-damaged'],
    takes: [S8],
  })),
  ...(
    [
      'crc',
      'length',
      'position',
      'time',
      'streamVersion',
      'groupOffset',
      'schemaVersion',
      'flags',
      'streamLength',
      'typeLength',
      'chain',
    ] as const
  ).map((field): DamagedCase => ({
    name: `a bit of the record field ${field} is flipped, with all that follows acknowledged`,
    damage: (deeds) => deeds.flip(S8, deeds.record(S8, 2).offset + RECORD[field]),
    finds: ['record-damaged'],
    takes: [S8, S16, S24],
    end: 10,
    lost: [10, 30],
    kept: unownedFrom(4),
  })),
  {
    name: 'a bit of the JSON of the first record is flipped',
    damage: (deeds) => deeds.flip(S0, deeds.record(S0, 0).end - 12),
    finds: ['record-damaged'],
    takes: [S0, S8, S16, S24],
    end: 0,
    lost: [0, 30],
    kept: unownedFrom(1),
  },
  {
    name: 'the same, before a checkpoint: only history is lost',
    of: 'checked',
    damage: (deeds) => deeds.flip(S0, deeds.record(S0, 0).end - 12),
    finds: ['record-damaged'],
    takes: [S0],
    start: 8,
  },
  {
    name: 'a bit is flipped in the segment that a checkpoint stands in, before it',
    of: 'checked',
    damage: (deeds) => deeds.flip(S24, deeds.record(S24, 1).offset + RECORD.time),
    finds: ['record-damaged'],
    takes: [S0, S8, S16, S24, C12],
    start: 26,
  },
  {
    name: 'a bit is flipped behind the newest checkpoint',
    of: 'checked',
    damage: (deeds) => deeds.flip(S24, deeds.record(S24, 3).offset + RECORD.time),
    finds: ['record-damaged'],
    takes: [S24],
    end: 27,
    lost: [27, 30],
    kept: [],
  },
  {
    name: 'a bit of the newest record is flipped: a torn tail to all who look',
    damage: (deeds) => deeds.flip(S24, deeds.record(S24, 5).offset + RECORD.time),
    finds: ['torn-tail'],
    takes: [S24],
    end: 29,
  },
  {
    name: 'a bit behind the last record is set',
    damage: (deeds) => deeds.flip(S24, deeds.record(S24, 5).end + 80),
    finds: ['torn-tail'],
    takes: [S24],
  },
];

const holes: readonly DamagedCase[] = [
  {
    name: 'half of the newest record is not there',
    damage: (deeds) => {
      const { offset, end } = deeds.record(S24, 5);
      deeds.fill(S24, 0, offset + 80, end);
    },
    finds: ['torn-tail'],
    takes: [S24],
    end: 29,
  },
  {
    name: 'a hole of zeros in a sealed segment',
    damage: (deeds) => deeds.fill(S16, 0, deeds.record(S16, 1).offset, deeds.record(S16, 2).end),
    finds: ['record-damaged'],
    takes: [S16, S24],
    end: 17,
    lost: [17, 30],
    kept: unownedFrom(5).filter((id) => id !== 5),
  },
  {
    name: 'a hole of zeros in the newest segment',
    damage: (deeds) => deeds.fill(S24, 0, deeds.record(S24, 1).offset, deeds.record(S24, 1).end),
    finds: ['record-damaged'],
    takes: [S24],
    end: 25,
    lost: [25, 30],
    kept: [8],
  },
  {
    name: 'a sector of strange bytes in the middle',
    damage: (deeds) => deeds.fill(S8, 0xa5, 512, 1024),
    finds: ['record-damaged'],
    takes: [S8, S16, S24],
    end: 10,
    lost: [10, 30],
    kept: unownedFrom(4),
  },
  {
    name: 'a sealed segment lost its end',
    damage: (deeds) => deeds.truncate(S8, deeds.record(S8, 6).offset + 20),
    finds: ['record-damaged'],
    takes: [S8, S16, S24],
    end: 14,
    lost: [14, 30],
    kept: unownedFrom(5),
  },
  {
    name: 'a sealed segment ends between two records',
    damage: (deeds) => deeds.truncate(S8, deeds.record(S8, 6).offset),
    finds: ['segment-short'],
    takes: [S16, S24],
    end: 14,
    lost: [14, 30],
    kept: unownedFrom(5),
  },
  {
    name: 'a segment was cut to nothing',
    damage: (deeds) => deeds.truncate(S16, 0),
    finds: ['header-damaged'],
    takes: [S16, S24],
    end: 16,
    lost: [16, 30],
    kept: unownedFrom(5),
  },
  {
    name: 'the newest segment was cut to nothing',
    damage: (deeds) => deeds.truncate(S24, 0),
    finds: ['header-damaged'],
    takes: [S24],
    end: 24,
    lost: [24, 25],
    kept: [8],
  },
  {
    name: 'the newest segment ends within its last record',
    damage: (deeds) => deeds.truncate(S24, deeds.record(S24, 5).offset + 100),
    finds: ['torn-tail'],
    takes: [S24],
    end: 29,
  },
  {
    name: 'strange bytes behind the records of a sealed segment',
    damage: (deeds) => deeds.put(S8, Buffer.concat([deeds.bytes(S8), Buffer.alloc(64, 7)])),
    finds: ['stray-bytes'],
    takes: [S8],
  },
];

const segments: readonly DamagedCase[] = [
  {
    name: 'a segment in the middle is gone',
    damage: (deeds) => deeds.remove(S8),
    finds: ['segment-missing', 'segment-short'],
    takes: [S16, S24],
    end: 8,
    lost: [8, 30],
    kept: unownedFrom(3),
  },
  {
    name: 'a segment in the middle is gone, and a checkpoint covers it',
    of: 'checked',
    damage: (deeds) => deeds.remove(S8),
    finds: ['segment-missing', 'segment-short'],
    takes: [S0, C12],
    start: 16,
  },
  {
    name: 'the first segment is gone',
    damage: (deeds) => deeds.remove(S0),
    finds: ['checkpoint-missing'],
    kind: 'impossible',
  },
  {
    name: 'the first segment is gone, and a checkpoint covers it: as after retirement',
    of: 'checked',
    damage: (deeds) => deeds.remove(S0),
    finds: [],
    kind: 'sound',
  },
  {
    name: 'the newest segment is gone, and nothing tells of it',
    damage: (deeds) => deeds.remove(S24),
    finds: [],
    kind: 'sound',
  },
  {
    name: 'the newest segment is gone, and a checkpoint tells of it',
    of: 'checked',
    damage: (deeds) => deeds.remove(S24),
    finds: ['checkpoint-disagrees'],
    takes: [S0, S8, S16, C12],
    start: 26,
    end: 26,
    lost: [26, 26],
    kept: [8],
  },
  {
    name: 'two segments have each other’s names',
    damage: async (deeds) => {
      await deeds.rename(S8, 'aside');
      await deeds.rename(S16, S8);
      await deeds.rename('aside', S16);
    },
    finds: ['chain-broken', 'segment-misnamed', 'segment-missing', 'segment-short'],
    takes: [S8, S16],
  },
  {
    name: 'a segment was renamed',
    damage: (deeds) => deeds.rename(S16, segment(17)),
    finds: ['segment-misnamed', 'segment-short'],
    takes: [],
  },
  {
    name: 'a segment is there twice',
    damage: (deeds) => deeds.copy(S8, segment(9999)),
    finds: ['segment-misnamed', 'segment-missing', 'segment-short'],
    takes: [segment(9999)],
  },
  {
    name: 'a segment stands in the place of the next',
    damage: (deeds) => deeds.copy(S8, S16),
    finds: [
      ...['chain-broken', 'segment-misnamed', 'segment-missing', 'segment-short'],
      'stream-version-wrong',
    ],
    takes: [S16, S24],
    end: 16,
    lost: [16, 30],
    kept: unownedFrom(5),
  },
  {
    name: 'a segment of another log came in behind',
    damage: (deeds, foreign) => deeds.put(segment(40), Buffer.from(foreign.bytes(S8))),
    finds: ['segment-foreign', 'segment-misnamed', 'segment-missing', 'segment-short'],
    takes: [segment(40)],
  },
  {
    name: 'a segment of another log stands in place of ours',
    damage: (deeds, foreign) => deeds.put(S16, Buffer.from(foreign.bytes(S16))),
    finds: ['segment-foreign'],
    takes: [S16, S24],
    end: 16,
    lost: [16, 30],
    kept: unownedFrom(5),
  },
  {
    name: 'the whole log is another node’s, and the identity ours',
    damage: (deeds, foreign) => {
      for (const name of [S0, S8, S16, S24]) deeds.put(name, Buffer.from(foreign.bytes(name)));
    },
    finds: ['segment-foreign'],
    kind: 'impossible',
  },
  {
    name: 'a segment begins with something else',
    damage: (deeds) => deeds.fill(S8, 0x6d, 0, 136),
    finds: ['header-damaged'],
    takes: [S8],
  },
  {
    name: 'a segment is another file altogether',
    damage: (deeds) => deeds.put(S8, Buffer.alloc(4096, 'mine ')),
    finds: ['header-damaged'],
    takes: [S8, S16, S24],
    end: 8,
    lost: [8, 30],
    kept: unownedFrom(3),
  },
  {
    name: 'a header names another segment before it',
    damage: (deeds) => deeds.reheader(S16, { previousFirstPosition: 3 }),
    finds: ['segment-missing'],
    takes: [S16],
  },
  {
    name: 'a header continues another chain',
    damage: (deeds) => deeds.reheader(S16, { chain: Buffer.alloc(32, 5) }),
    finds: ['chain-broken'],
    takes: [S16, S24],
    end: 16,
    lost: [16, 30],
    kept: unownedFrom(5),
  },
  {
    name: 'the identity is of an older epoch than the segments',
    damage: (deeds) => deeds.reheader(S24, { epoch: 3 }),
    finds: ['epoch-wrong'],
    takes: [],
    epoch: 4,
  },
  {
    name: 'a segment is of a lower epoch than the one before it',
    damage: (deeds) => {
      deeds.identity({ epoch: 2 });
      deeds.reheader(S8, { epoch: 2 });
    },
    finds: ['epoch-wrong'],
    takes: [S16, S24],
    epoch: 3,
  },
  {
    name: 'early segments were retired, and the newest record is torn',
    of: 'old',
    damage: (deeds) => deeds.flip(S24, deeds.record(S24, 5).offset + RECORD.time),
    finds: ['torn-tail'],
    takes: [S24],
    start: 8,
    end: 29,
  },
  {
    name: 'early segments were retired, and the first that is left is damaged',
    of: 'old',
    damage: (deeds) => deeds.flip(S8, deeds.record(S8, 1).offset + RECORD.time),
    finds: ['record-damaged'],
    takes: [S8, S16],
    start: 12,
  },
  {
    name: 'early segments were retired, and the header of the first that is left is damaged',
    of: 'old',
    damage: (deeds) => deeds.flip(S8, 104),
    finds: ['checkpoint-disagrees', 'header-damaged'],
    takes: [S8, S16],
    start: 12,
  },
];

const forged: readonly DamagedCase[] = [
  {
    name: 'a record was changed together with its checksum',
    damage: (deeds) => deeds.forge(S8, 4, (bytes) => bytes.writeBigInt64LE(7n, RECORD.time)),
    finds: ['chain-broken'],
    takes: [S8, S16, S24],
    end: 12,
    lost: [12, 30],
    kept: unownedFrom(4),
  },
  {
    name: 'a record has another one’s position',
    damage: (deeds) => deeds.forge(S8, 4, (bytes) => bytes.writeUInt32LE(20, RECORD.position)),
    finds: ['position-wrong'],
    takes: [S8, S16, S24],
    end: 12,
    lost: [12, 30],
    kept: unownedFrom(4),
  },
  {
    name: 'the newest record was changed together with its checksum',
    damage: (deeds) => deeds.forge(S24, 5, (bytes) => bytes.writeBigInt64LE(7n, RECORD.time)),
    finds: ['chain-broken'],
    takes: [S24],
    end: 29,
    lost: [29, 30],
    kept: [],
  },
  {
    name: 'the log is to end where a person says',
    damage: () => undefined,
    finds: [],
    wish: { endAt: 26 },
    takes: [S24],
    end: 26,
    lost: [26, 30],
    kept: [8],
  },
];

const checkpoints: readonly DamagedCase[] = [
  {
    name: 'a bit of the newest checkpoint is flipped',
    of: 'checked',
    damage: (deeds) => deeds.flip(C26, 300),
    finds: ['checkpoint-unusable'],
    takes: [C26],
  },
  {
    name: 'both checkpoints are damaged, and the log is whole',
    of: 'checked',
    damage: (deeds) => {
      deeds.flip(C12, 300);
      deeds.truncate(C26, 10);
    },
    finds: ['checkpoint-unusable'],
    takes: [C12, C26],
  },
  {
    name: 'both checkpoints are damaged, and early segments are retired',
    of: 'old',
    damage: (deeds) => {
      deeds.flip(C12, 300);
      deeds.flip(C26, 300);
    },
    finds: ['checkpoint-missing', 'checkpoint-unusable'],
    kind: 'impossible',
  },
  {
    name: 'a checkpoint has another one’s name',
    of: 'checked',
    damage: (deeds) => deeds.copy(C12, checkpoint(20)),
    finds: ['checkpoint-unusable'],
    takes: [checkpoint(20)],
  },
  {
    name: 'a checkpoint is empty',
    of: 'checked',
    damage: (deeds) => deeds.truncate(C12, 0),
    finds: ['checkpoint-unusable'],
    takes: [C12],
  },
  {
    name: 'the segments are all gone, and a checkpoint is left',
    of: 'checked',
    damage: async (deeds) => {
      for (const name of [S0, S8, S16, S24]) await deeds.remove(name);
    },
    finds: ['checkpoint-disagrees'],
    takes: [C12],
    start: 26,
    end: 26,
    lost: [26, 26],
    kept: [8],
  },
];

const identities: readonly DamagedCase[] = [
  {
    name: 'the identity is gone',
    damage: (deeds) => deeds.remove('identity.json'),
    finds: ['identity-missing'],
    takes: [],
  },
  {
    name: 'the identity is no JSON',
    damage: (deeds) => deeds.truncate('identity.json', 20),
    finds: ['identity-damaged'],
    takes: [],
  },
  {
    name: 'the identity and a record in the middle are damaged',
    damage: (deeds) => {
      deeds.flip('identity.json', 3, 0x40);
      deeds.flip(S8, deeds.record(S8, 2).offset + RECORD.time);
    },
    finds: ['identity-damaged', 'record-damaged'],
    takes: [S8, S16, S24],
    end: 10,
    lost: [10, 30],
    kept: unownedFrom(4),
  },
  {
    name: 'the identity is another node’s',
    damage: (deeds) => deeds.identity({ uuid: OTHER_UUID }),
    finds: ['segment-foreign'],
    kind: 'impossible',
  },
];

const rebuilt: readonly DamagedCase[] = [
  {
    name: 'the log is lost for good: nothing is done unless it is wished',
    damage: async (deeds) => {
      for (const name of [S0, S8, S16, S24]) await deeds.remove(name);
    },
    finds: [],
    kind: 'impossible',
  },
  {
    name: 'the log is lost for good, and built anew from the directories',
    damage: async (deeds) => {
      for (const name of [S0, S8, S16, S24]) await deeds.remove(name);
    },
    finds: [],
    wish: { fromDirectories: true },
    takes: [],
    end: 0,
    salvaged: unownedFrom(1),
    epoch: 1,
  },
  {
    name: 'log and identity are lost for good, and built anew from the directories',
    damage: async (deeds) => {
      for (const name of [S0, S8, S16, S24, 'identity.json']) await deeds.remove(name);
    },
    finds: ['identity-missing'],
    wish: { fromDirectories: true },
    takes: [],
    end: 0,
    salvaged: unownedFrom(1),
    epoch: 1,
  },
  {
    name: 'the beginning of the log is lost, and it is built anew from the directories',
    damage: (deeds) => deeds.remove(S0),
    finds: ['checkpoint-missing'],
    wish: { fromDirectories: true },
    takes: [S8, S16, S24],
    end: 0,
    lost: [0, 30],
    salvaged: unownedFrom(1),
    epoch: 1,
  },
  {
    name: 'directories of lost events become unverified layers when it is wished',
    damage: (deeds) => deeds.flip(S8, deeds.record(S8, 2).offset + RECORD.time),
    finds: ['record-damaged'],
    wish: { fromDirectories: true },
    takes: [S8, S16, S24],
    end: 10,
    lost: [10, 30],
    salvaged: unownedFrom(4),
  },
];

const others: readonly DamagedCase[] = [
  { name: 'nothing is wrong', damage: () => undefined, finds: [], kind: 'sound' },
  {
    name: 'a log without an event is sound',
    of: 'empty',
    damage: () => undefined,
    finds: [],
    kind: 'sound',
  },
  {
    name: 'strange files stand in the log',
    damage: (deeds) => {
      deeds.put('notes.txt', Buffer.from('mine'));
      deeds.put('0.seg', Buffer.from('mine'));
      deeds.put('00000000000000000030.checkpoint.new', Buffer.from('half'));
    },
    finds: [],
    kind: 'sound',
  },
];

export const cases: readonly DamagedCase[] = [
  ...flips,
  ...holes,
  ...segments,
  ...forged,
  ...checkpoints,
  ...identities,
  ...rebuilt,
  ...others,
];
