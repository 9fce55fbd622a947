/** All damaged roots. */
import { RECORD } from '../../src/log/format/layout.js';
import { C12, C26, S0, S16, S24, S8, checkpoint, unownedFrom, type DamagedCase } from './case.js';
import { OTHER_UUID } from './rig.js';
import { flips, holes } from './cases-bits.js';
import { segments } from './cases-segments.js';

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
    query: { endAt: 26 },
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
    query: { fromDirectories: true },
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
    query: { fromDirectories: true },
    takes: [],
    end: 0,
    salvaged: unownedFrom(1),
    epoch: 1,
  },
  {
    name: 'the beginning of the log is lost, and it is built anew from the directories',
    damage: (deeds) => deeds.remove(S0),
    finds: ['checkpoint-missing'],
    query: { fromDirectories: true },
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
    query: { fromDirectories: true },
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
