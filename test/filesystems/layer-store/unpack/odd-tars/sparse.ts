/** GNU sparse files: old GNU, and PAX 0.0, 0.1 and 1.0. */
import { extensionOf, headerOf, octal, paxRecords } from '../../../../../scripts/rig/tar.js';
import { last, padded, refuses, unpacks, whole, type OddTar } from './kit.js';

const stored = 'abcdefgh';
const sparseRecords = (
  records: readonly (readonly [string, string])[],
  content: string,
  flag = '0',
): Buffer =>
  whole(
    extensionOf('x', paxRecords(records)),
    headerOf({ name: 'stored', raw: { flag } }, content.length),
    padded(content),
    last,
  );
const version = (minor: string, major = '0'): (readonly [string, string])[] => [
  ['GNU.sparse.major', major],
  ['GNU.sparse.minor', minor],
  ['GNU.sparse.name', 'sparse'],
];
const map01 = (map: string, count: number, size: string): (readonly [string, string])[] => [
  ...version('1'),
  ['GNU.sparse.size', size],
  ['GNU.sparse.numblocks', String(count)],
  ['GNU.sparse.map', map],
];
const in10 = (map: string, size: string, content = stored): Buffer =>
  sparseRecords(
    [...version('0', '1'), ['GNU.sparse.realsize', size]],
    map.padEnd(512, '\0') + content,
  );
const oldGnu = (map: string, size: number, name = 'sparse'): Buffer =>
  whole(
    headerOf(
      {
        name,
        dialect: 'gnu',
        raw: { flag: 'S', rest: '\0'.repeat(41) + map.padEnd(97, '\0') + octal(size, 12) },
      },
      stored.length,
    ),
    padded(stored),
    last,
  );

export const sparse: readonly OddTar[] = [
  unpacks(
    'sparse 0.0',
    sparseRecords(
      [
        ['GNU.sparse.size', '1000'],
        ['GNU.sparse.numblocks', '2'],
        ['GNU.sparse.offset', '10'],
        ['GNU.sparse.numbytes', '5'],
        ['GNU.sparse.offset', '600'],
        ['GNU.sparse.numbytes', '3'],
      ],
      stored,
    ),
  ),
  unpacks('sparse 0.1', sparseRecords(map01('0,4,900,4', 2, '904'), stored)),
  unpacks(
    'sparse 0.1 with empty pieces, and zeros at the end',
    sparseRecords(map01('5,0,9,8,17,0', 3, '2000'), stored),
  ),
  unpacks('sparse 0.1 of zeros alone', sparseRecords(map01('', 0, '100000'), '')),
  unpacks('sparse 1.0', in10('2\n100\n4\n70000\n4\n', '80000')),
  unpacks(
    'sparse 1.0 whose map ends in the next block',
    sparseRecords(
      [...version('0', '1'), ['GNU.sparse.realsize', '8']],
      `1\n${'0'.repeat(520)}\n8\n`.padEnd(1024, '\0') + stored,
    ),
  ),
  unpacks(
    'sparse of a version that Go does not know: the file is what is stored',
    sparseRecords([...version('0', '2')], stored),
  ),
  unpacks('sparse 0.1 without its version', sparseRecords(map01('0,8', 1, '8').slice(2), stored)),
  unpacks(
    'a size in GNU.sparse without a map: the file is what is stored',
    sparseRecords([['GNU.sparse.size', '1000']], stored),
  ),
  refuses(
    'sparse with less content than its map says',
    sparseRecords(map01('0,9', 1, '9'), stored),
  ),
  refuses(
    'sparse with more content than its map says',
    sparseRecords(map01('0,7', 1, '7'), stored),
  ),
  refuses('sparse of no size with content', sparseRecords(map01('', 0, '0'), stored)),
  refuses('sparse with pieces that overlap', sparseRecords(map01('0,5,4,3', 2, '9'), stored)),
  refuses('sparse with pieces beyond its end', sparseRecords(map01('0,8', 1, '7'), stored)),
  refuses('sparse with a negative piece', sparseRecords(map01('0,-1', 1, '7'), stored)),
  refuses('sparse with a map of another length', sparseRecords(map01('0,8', 2, '8'), stored)),
  refuses('sparse with a map that is no numbers', sparseRecords(map01('a,b', 1, '8'), stored)),
  refuses('sparse with a size that is no number', sparseRecords(map01('0,8', 1, 'x'), stored)),
  refuses(
    'sparse 0.0 with pieces out of order',
    sparseRecords(
      [
        ['GNU.sparse.numbytes', '5'],
        ['GNU.sparse.offset', '0'],
      ],
      stored,
    ),
  ),
  refuses(
    'sparse 1.0 with a map that is cut',
    sparseRecords([...version('0', '1'), ['GNU.sparse.realsize', '8']], '1\n0\n'),
  ),
  refuses('sparse 1.0 with a map that never comes', in10('9999\n', '8')),
  refuses('sparse 1.0 with a negative number of pieces', in10('-1\n', '8')),
  refuses('a sparse directory', sparseRecords(map01('0,8', 1, '8'), '', '5')),
  refuses('an old GNU sparse file', oldGnu(octal(0, 12) + octal(8, 12), 8)),
  unpacks(
    'a whiteout that is an old GNU sparse file',
    oldGnu(octal(0, 12) + octal(8, 12), 8, '.wh.nothing'),
  ),
  unpacks(
    'a whiteout that is a sparse file of 2^52 bytes',
    sparseRecords(
      [...map01('0,8', 1, String(2 ** 52)), ['GNU.sparse.name', '.wh.nothing']],
      stored,
    ),
  ),
];
