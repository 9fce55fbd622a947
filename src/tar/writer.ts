/** Regular files as a tar archive in the ustar form (POSIX.1-2017 pax(1)), which every tar reads. */
import { blockBytes } from './header.js';

export interface WrittenFile {
  /** ASCII, at most 100 bytes. */
  readonly name: string;
  readonly size: number;
  readonly mode: number;
  readonly modified: Date;
}

/** What a size in octal digits cannot say is written in base 256, as GNU tar does. */
const octalSizeMax = 8 ** 11 - 1;

/** The header of a file of root. Its content follows, then what `paddingAfter` gives. */
export function fileHeader({ name, size, mode, modified }: WrittenFile): Buffer {
  if (!/^[\x20-\x7e]{1,100}$/.test(name)) throw new RangeError(`${name} is no name for a tar`);
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0, 'latin1');
  block.write(octal(mode, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  if (size <= octalSizeMax) {
    block.write(octal(size, 12), 124, 'latin1');
  } else {
    block.writeBigUInt64BE(BigInt(size), 128);
    block[124] = 0x80;
  }
  block.write(octal(Math.floor(modified.getTime() / 1000), 12), 136, 'latin1');
  block.write('        0', 148, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  block.write(octal(0, 8) + octal(0, 8), 329, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 7)} `, 148, 'latin1');
  return block;
}

/** Zeros up to the next block. */
export const paddingAfter = (size: number): Buffer =>
  Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);

/** What ends an archive. */
export const TAR_END: Buffer = Buffer.alloc(2 * blockBytes);

/** Octal digits and a NUL. */
const octal = (value: number, length: number): string =>
  `${value.toString(8).padStart(length - 1, '0')}\0`;
