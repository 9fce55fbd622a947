/**
 * Goal: what is read does not depend on how the bytes arrive, and nothing is held that an archive
 * only claims. Method: the odd archives of the unpack tests, whole and in pieces; claims of sizes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { archiveEnd, base256, entryOf, headerOf } from '../../scripts/rig/tar.js';
import { TarReader } from '../../src/tar/reader.js';
import type { TarPart } from '../../src/tar/reader.js';
import { oddTars } from '../filesystems/layer-store/unpack/odd-tars/index.js';
import { runs } from '../hostile/fuzz/runs.js';

/** The parts as text, content of one entry joined; the last line is why reading failed. */
function partsOf(pieces: Iterable<Buffer>): string[] {
  const reader = new TarReader();
  const lines: string[] = [];
  let content = '';
  const take = (part: TarPart): void => {
    if (part.kind === 'content') content += Buffer.from(part.bytes).toString('latin1');
    else if (part.kind === 'zeros') content += `<${part.count} zeros>`;
    else {
      lines.push(content);
      content = '';
      lines.push(part.kind === 'entry' ? shown(part.header) : part.kind);
    }
  };
  try {
    for (const piece of pieces) for (const part of reader.read(piece)) take(part);
    for (const part of reader.finish()) take(part);
  } catch (thrown) {
    lines.push(content, String(thrown));
  }
  return lines.filter((line) => line !== '');
}

const shown = (value: object): string =>
  JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'bigint' ? String(each) : each instanceof Map ? [...each] : each,
  );

function* inPieces(whole: Buffer, lengths: readonly number[]): Generator<Buffer> {
  for (let at = 0, index = 0; at < whole.length; index += 1) {
    const length = lengths[index % lengths.length] ?? 1;
    yield whole.subarray(at, at + length);
    at += length;
  }
}

it('reads the same however the bytes arrive', () => {
  const small = oddTars.filter(({ tar }) => tar.length < 32 * 1024);
  const lengths = fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.constantFrom(...small), lengths, ({ tar }, each) => {
      expect(partsOf(inPieces(tar, each))).toEqual(partsOf([tar]));
    }),
    runs(1_000),
  );
});

describe('an archive that claims much', () => {
  it('is refused at its header, before the content has come', () => {
    for (const flag of ['x', 'g', 'L', 'K']) {
      const header = headerOf({ name: 'p', raw: { flag, size: base256(1n << 40n, 12) } });
      expect(partsOf([header])).toEqual([
        'TarInvalid: a PAX header or a long name has more than 1 MiB (header at byte 0)',
      ]);
    }
  });

  it('has its content handed on as it comes', () => {
    const reader = new TarReader();
    const header = headerOf({ name: 'f', raw: { size: base256(1n << 40n, 12) } });
    expect([...reader.read(header)].map(({ kind }) => kind)).toEqual(['entry']);
    for (let piece = 0; piece < 3; piece += 1) {
      const parts = [...reader.read(Buffer.alloc(700))];
      expect(parts).toEqual([{ kind: 'content', bytes: Buffer.alloc(700) }]);
    }
    expect(() => [...reader.finish()]).toThrow(
      'the archive ends in the middle of an entry (header at byte 0)',
    );
  });
});

it('says where the header is that it fails at', () => {
  const broken = headerOf({ name: 'f', raw: { checksum: '0' } });
  const first = entryOf({ name: 'first', content: 'x' });
  expect(partsOf([first, broken]).at(-1)).toBe(
    'TarInvalid: the checksum does not match (header at byte 1024)',
  );
});

it('leaves out content that is not wanted, and reads on behind it', () => {
  const reader = new TarReader();
  const names: string[] = [];
  const entries = ['a', 'b'].map((name) => entryOf({ name, content: 'x'.repeat(2000) }));
  for (const piece of inPieces(Buffer.concat([...entries, archiveEnd]), [300])) {
    for (const part of reader.read(piece)) {
      expect(part.kind).not.toBe('content');
      if (part.kind === 'entry') names.push(part.header.name);
      reader.skip();
    }
  }
  expect(names).toEqual(['a', 'b']);
  expect(reader.ended).toBe(true);
});
