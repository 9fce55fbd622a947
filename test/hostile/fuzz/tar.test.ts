/**
 * Goal: a tar is read to its end or refused with TarInvalid; reading never waits for what does not
 * come, and never gives more than the archive holds. Method: headers with good checksums whose
 * fields say anything, in any order, in pieces of any size; and by hand what was once read wrongly.
 * That it is read as containerd reads it is in test/filesystems/layer-store/unpack.test.ts.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tarEntries } from '../../../src/tar/entries.js';
import { TarInvalid } from '../../../src/tar/header.js';
import { runs } from './runs.js';

interface Header {
  readonly name: string;
  readonly size: string;
  readonly flag: string;
  /** Fills a block behind the header, if there is any. */
  readonly body?: string;
}

function block({ name, size, flag, body = '' }: Header): Buffer {
  const made = Buffer.alloc(body === '' ? 512 : 1024);
  made.write(name, 0);
  made.write(`0000644\0${'0000000\0'.repeat(2)}`, 100, 'latin1');
  made.write(`${size}\0`, 124);
  made.write('00000000000\0        ', 136, 'latin1');
  made.write(flag, 156);
  made.write('ustar\x0000', 257, 'latin1');
  const sum = made.subarray(0, 512).reduce((all, byte) => all + byte, 0);
  made.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  made.write(body, 512);
  return made;
}

/** Octal. */
const sizes = { none: '00000000000', ten: '00000000012', most: '77777777777', less: '-0000000001' };
const end = Buffer.alloc(1024);
const last: Header = { name: 'last', size: sizes.none, flag: '0' };

function archiveOf(...headers: readonly Header[]): Buffer {
  return Buffer.concat([...headers.map(block), end]);
}

async function* inPieces(whole: Buffer, pace: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < whole.length; at += pace) {
    yield await Promise.resolve(whole.subarray(at, at + pace));
  }
}

interface Read {
  readonly entries: readonly string[];
  readonly bytes: number;
  readonly refused: TarInvalid | null;
}

async function read(source: AsyncIterable<Buffer>): Promise<Read> {
  const entries: string[] = [];
  let bytes = 0;
  try {
    for await (const { header, content } of tarEntries(source)) {
      entries.push(`${header.type} ${header.name}`);
      for await (const piece of content) bytes += piece.length;
    }
  } catch (thrown) {
    if (!(thrown instanceof TarInvalid)) throw thrown;
    return { entries, bytes, refused: thrown };
  }
  return { entries, bytes, refused: null };
}

const anyHeader = fc
  .record({
    name: fc.constantFrom('a', '../x', '/', 'd/', 'PaxHeader/a', '././@LongLink'),
    size: fc.constantFrom(...Object.values(sizes)),
    flag: fc.constantFrom(...Array.from('0123456789xgLKSV\0')),
    body: fc.constantFrom(
      '',
      '12 path=abc\n',
      '10 size=5\n',
      '11 size=-5\n',
      '12 size=abc\n',
      '99999999 a=b\n',
      '0 \n',
      '30 SCHILY.xattr.a=\0\n',
    ),
  })
  .map(block);
const headers = (maxLength: number) => fc.array(anyHeader, { maxLength });
const anyArchive = fc.oneof(
  headers(5).map((all) => Buffer.concat([...all, end])),
  headers(3).map((all) => Buffer.concat(all)),
  // Cut anywhere.
  fc.tuple(headers(4), fc.nat(4_096)).map(([all, at]) => Buffer.concat(all).subarray(0, at)),
  fc.uint8Array({ maxLength: 2_000 }).map((array) => Buffer.from(array)),
);

describe('any tar', () => {
  it('is read to its end, or refused', { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(anyArchive, fc.integer({ min: 1, max: 700 }), async (made, pace) => {
        const got = await read(inPieces(made, pace));
        expect(got.bytes).toBeLessThanOrEqual(made.length);
        expect(got.entries.length).toBeLessThanOrEqual(made.length / 512);
      }),
      // No pace of any machine: what waits for ever is shown with the archive it waits in.
      { ...runs(1_500), timeout: 60_000 },
    );
  });

  it('is refused when it is cut inside of an entry, however it arrives', async () => {
    const file = block({ name: 'a', size: '00000001000', flag: '0', body: 'x' });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: file.length - 1 }),
        fc.integer({ min: 1, max: 1_100 }),
        async (at, pace) => {
          const got = await read(inPieces(file.subarray(0, at), pace));
          expect(got.refused).toBeInstanceOf(TarInvalid);
        },
      ),
      runs(300),
    );
    expect((await read(inPieces(file, 512))).refused).toBeNull();
  });
});

describe('a header', () => {
  const five = ['link', 'symlink', 'character-device', 'block-device', 'directory', 'fifo'];

  it.each(five.map((type, index) => ({ type, flag: String(index + 1) })))(
    'of a $type has no content, whatever size it claims, in the field or by PAX',
    async ({ type, flag }) => {
      const claims = { name: 'd', flag };
      for (const size of [sizes.ten, sizes.most]) {
        const whole = archiveOf({ ...claims, size }, last);
        const got = await read(inPieces(whole, 700));
        expect(got).toEqual({ entries: [`${type} d`, 'file last'], bytes: 0, refused: null });
      }
      const pax = { name: 'p', size: sizes.ten, flag: 'x', body: '10 size=7\n' };
      pax.size = pax.body.length.toString(8).padStart(11, '0');
      const got = await read(inPieces(archiveOf(pax, { ...claims, size: sizes.none }, last), 700));
      expect(got).toEqual({ entries: [`${type} d`, 'file last'], bytes: 0, refused: null });
    },
  );

  it('by PAX needs a size that is a number', async () => {
    for (const size of ['5x', '-1', '+', '1e3', '99999999999999999']) {
      const body = ` size=${size}\n`;
      const record = `${body.length + 2}${body}`;
      const length = record.length.toString(8).padStart(11, '0');
      const pax = { name: 'p', size: length, flag: 'x', body: record };
      const got = await read(inPieces(archiveOf(pax, { ...last, body: 'abcde' }), 512));
      expect(got.refused?.message, size).toMatch(/for a number|negative size|a size of/);
      expect(got.entries).toEqual([]);
    }
  });

  it.each(['x', 'g', 'L', 'K'])('of type %s with a negative size is refused', async (flag) => {
    const whole = archiveOf({ name: 'p', size: sizes.less, flag }, { ...last, size: sizes.ten });
    const got = await read(inPieces(whole, 512));
    expect(got.refused?.message).toBe('a field is not an octal number (header at byte 0)');
  });

  it.each(['x', 'L', 'K'])('of type %s changes nothing when it is the last', async (flag) => {
    const whole = archiveOf(last, { name: 'p', size: sizes.ten, flag, body: '10 a=bcde\n' });
    const got = await read(inPieces(whole, 512));
    expect(got).toEqual({ entries: ['file last'], bytes: 0, refused: null });
  });
});

describe('a fault', () => {
  const cut = block({ name: 'a', size: sizes.ten, flag: '0' });

  it('of the source passes as it is, with its code', async () => {
    const fault = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', errno: -5 });
    for (const before of [Buffer.alloc(0), cut.subarray(0, 100), cut, Buffer.concat([cut, end])]) {
      const source = async function* (): AsyncGenerator<Buffer> {
        yield* inPieces(before, 512);
        throw fault;
      };
      await expect(read(source()), `behind ${before.length} bytes`).rejects.toBe(fault);
    }
  });

  it('is no entry that a reader gives up half read: the next one is read', async () => {
    const long = block({ name: 'a', size: '00000001000', flag: '0', body: 'x' });
    const whole = Buffer.concat([long, block(last), end]);
    const entries: string[] = [];
    for await (const { header, content } of tarEntries(inPieces(whole, 600))) {
      entries.push(header.name);
      for await (const piece of content) if (piece.length > 0) break;
    }
    expect(entries).toEqual(['a', 'last']);
  });
});
