/** Missing, doubled, swapped and foreign segments. */
import { RECORD } from '../../src/log/format/layout.js';
import { C12, S0, S16, S24, S8, segment, unownedFrom, type DamagedCase } from './case.js';

export const segments: readonly DamagedCase[] = [
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
