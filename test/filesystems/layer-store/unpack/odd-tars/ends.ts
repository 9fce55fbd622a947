/** Where archives end. */
import {
  archiveEnd,
  entryOf,
  extensionOf,
  headerOf,
  tarOf,
} from '../../../../../scripts/rig/tar.js';
import { file, last, pax, refuses, unpacks, whole, type OddTar } from './kit.js';

export const ends: readonly OddTar[] = [
  unpacks('nothing at all', Buffer.alloc(0)),
  unpacks('the end alone', archiveEnd),
  unpacks('no end', last),
  unpacks('one block of zeros', Buffer.concat([last, Buffer.alloc(512)])),
  unpacks('three blocks of zeros', Buffer.concat([last, Buffer.alloc(1536)])),
  refuses('a block of zeros, then an entry', Buffer.concat([last, Buffer.alloc(512), last])),
  refuses('a block of zeros, then a part of one', Buffer.concat([last, Buffer.alloc(700)])),
  unpacks(
    'entries after the end',
    whole(last, archiveEnd, entryOf(file('hidden')), entryOf(file('.wh.last'))),
  ),
  unpacks(
    'three blocks of zeros, then an entry',
    whole(last, Buffer.alloc(1536), entryOf(file('hidden'))),
  ),
  unpacks('junk after the end', Buffer.concat([tarOf([file('f')]), Buffer.from('junk')])),
  unpacks('a file without its padding', last.subarray(0, 512 + 4)),
  unpacks('a file with a part of its padding', last.subarray(0, 512 + 300)),
  refuses('a file that is cut', last.subarray(0, 512 + 3)),
  refuses('a header that is cut', last.subarray(0, 300)),
  refuses('a file of which only the header is there', headerOf(file('f'), 1)),
  unpacks('a PAX header as the last entry', whole(last, pax({ path: 'nothing' }))),
  unpacks(
    'a PAX header without its padding as the end',
    Buffer.concat([last, pax({ path: 'nothing' }).subarray(0, 512 + 16)]),
  ),
  refuses(
    'a PAX header that is cut',
    Buffer.concat([last, pax({ path: 'nothing' }).subarray(0, 512 + 15)]),
  ),
  unpacks('a long name as the last entry', whole(last, extensionOf('L', 'nothing\0'))),
];
