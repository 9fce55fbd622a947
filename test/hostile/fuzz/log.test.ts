/**
 * Goal: bytes of a log are either what was written or a finding; never a crash, a hang, or memory
 * by the word of a length field. Method: random bytes and small changes of valid ones against each
 * decoder. The bits of a record are flipped one by one in test/log/codec.test.ts.
 */
import { basename } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unixNanos } from '../../../src/base/units.js';
import { decodeRecord, parseBody } from '../../../src/log/format/codec.js';
import {
  checkpointLines,
  examineCheckpoint,
  writeCheckpointAside,
} from '../../../src/log/checkpoint/checkpoint.js';
import { LogTooNew, RootRefused } from '../../../src/log/errors.js';
import { CHAIN_BYTES, RECORD, RECORD_BYTES_MAX } from '../../../src/log/format/layout.js';
import { HEADS_ONLY, recordAt } from '../../../src/log/format/record-step.js';
import { readIdentity } from '../../../src/log/root/identity.js';
import { SegmentScan } from '../../../src/log/read/scan.js';
import { decodeHeader, encodeHeader } from '../../../src/log/format/segment-header.js';
import { FaultyDisk } from '../../support/faulty-disk.js';
import { UUID } from '../../log/fixtures.js';
import { runs } from './runs.js';

const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

const c = { name: 'c', position: 7 };

/** What a head says of its record's length; null when it is none. */
function claimedLength(made: Buffer): number | null {
  const step = recordAt(made, 0, made.length, null, HEADS_ONLY);
  if (typeof step === 'number') return step;
  return step.kind === 'short' ? step.needed : null;
}

const start = { offset: 0, position: 0, chain: Buffer.alloc(CHAIN_BYTES) };

async function diskWith(path: string, content: Uint8Array): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  await disk.makeDirectory('/root/log');
  const file = await disk.open(path, 'create');
  await file.write(content, 0);
  await file.close();
  return disk;
}

describe('a record', () => {
  /** A head whose fields are all chosen, with little or nothing behind it. */
  const head = fc.record({
    length: fc.oneof(fc.nat(0xffff_ffff), fc.nat(400), fc.constantFrom(2 ** 31, RECORD_BYTES_MAX)),
    stream: fc.nat(0xffff),
    type: fc.nat(300),
    rest: bytes(400),
  });
  const headBytes = head.map(({ length, stream, type, rest }) => {
    const made = Buffer.alloc(RECORD.headBytes + rest.length);
    made.writeUInt32LE(length, RECORD.length);
    made.writeUInt16LE(stream, RECORD.streamLength);
    made.writeUInt16LE(type, RECORD.typeLength);
    rest.copy(made, RECORD.headBytes);
    return made;
  });

  it('claims no more than a record may have, whatever its head says', () => {
    fc.assert(
      fc.property(headBytes, (made) => {
        const claimed = claimedLength(made);
        if (claimed === null) return;
        expect(claimed).toBeGreaterThanOrEqual(RECORD.headBytes);
        expect(claimed).toBeLessThanOrEqual(RECORD_BYTES_MAX);
        expect(claimed % 8).toBe(0);
      }),
      runs(3_000),
    );
  });

  it('throws SyntaxError or RangeError alone for a body that is none', () => {
    fc.assert(
      fc.property(headBytes, (made) => {
        const claimed = claimedLength(made);
        if (claimed === null || claimed > made.length) return;
        try {
          decodeRecord(made, 0);
        } catch (thrown) {
          if (!(thrown instanceof SyntaxError) && !(thrown instanceof RangeError)) throw thrown;
        }
      }),
      runs(3_000),
    );
  });

  it('reads a body of JSON as it is, and refuses all other text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.string(),
          fc.json().map((text) => text.slice(1)),
        ),
        (text) => {
          try {
            expect(parseBody(text)).toEqual(JSON.parse(text));
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(SyntaxError);
          }
        },
      ),
      runs(1_000),
    );
  });

  it('is looked for in any bytes, to one end or another, without large buffers', async () => {
    const before = process.memoryUsage().arrayBuffers;
    await fc.assert(
      fc.asyncProperty(fc.oneof(headBytes, bytes(2_000)), async (made) => {
        const disk = await diskWith('/root/log/s', made);
        const file = await disk.open('/root/log/s', 'read');
        const scan = new SegmentScan(file, start);
        let turns = 0;
        while ((await scan.next()) !== null) turns += 1;
        await file.close();
        expect(turns).toBeLessThan(4);
        expect(['nothing', 'unreadable']).toContain(scan.stop?.kind);
      }),
      runs(300),
    );
    // Three hundred times the length that is claimed would be gigabytes.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(400 * 2 ** 20);
  });
});

const aHeader = fc
  .record({
    epoch: fc.integer({ min: 1, max: 0xffff_ffff }),
    writtenBy: fc.stringMatching(/^[a-z0-9. ]{1,40}$/),
    firstPosition: fc.maxSafeNat(),
    previousFirstPosition: fc.option(fc.maxSafeNat()),
    created: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(unixNanos),
    chain: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array)),
  })
  .map((fields) => ({ ...fields, uuid: UUID }));

describe('a segment header', () => {
  it('decodes to what was encoded, and no flipped bit goes unseen', () => {
    fc.assert(
      fc.property(aHeader, fc.nat(), (header, where) => {
        const encoded = encodeHeader(header);
        const read = decodeHeader(encoded);
        expect(read.kind === 'valid' ? read.header : read.kind).toMatchObject(header);
        const bit = where % (encoded.length * 8);
        encoded.writeUInt8(encoded.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        expect(decodeHeader(encoded).kind).toBe('damaged');
      }),
      runs(1_000),
    );
  });

  it('takes any bytes, at any length', () => {
    fc.assert(
      fc.property(fc.oneof(bytes(300), aHeader.map(encodeHeader)), fc.nat(300), (made, end) => {
        const kind = decodeHeader(made.subarray(0, end)).kind;
        expect(['valid', 'damaged', 'too-new']).toContain(kind);
      }),
      runs(1_000),
    );
  });
});

describe('a checkpoint', () => {
  const line = fc.string({ unit: 'grapheme', maxLength: 30 }).map((text) => JSON.stringify(text));
  const written = async (lines: readonly string[]): Promise<{ disk: FaultyDisk; path: string }> => {
    const disk = new FaultyDisk();
    await disk.makeDirectory('/root/log');
    const envelope = {
      position: 7,
      chain: Buffer.alloc(CHAIN_BYTES, 3),
      streamsPosition: 9,
      streams: new Map([['snapshot-1', 4]]),
    };
    const path = await writeCheckpointAside(disk, '/root', UUID, envelope, lines);
    return { disk, path };
  };
  const contentOf = async (disk: FaultyDisk, path: string): Promise<Buffer> => {
    const file = await disk.open(path, 'read');
    const content = Buffer.alloc(await file.size());
    await file.read(content, 0);
    await file.close();
    return content;
  };

  it('gives back its lines', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 9 }), async (lines) => {
        const { disk, path } = await written(lines);
        const read = await examineCheckpoint(
          disk,
          '/root',
          { name: basename(path), position: 7 },
          UUID,
        );
        if (read.kind !== 'valid') throw new Error(read.reason);
        const found: string[] = [];
        for await (const slice of checkpointLines(disk, path, read)) found.push(...slice);
        expect(found).toEqual(lines);
      }),
      runs(200),
    );
  });

  it('is unusable when any one bit is flipped', async () => {
    const { disk, path } = await written(['{"a":1}', '{"b":"é"}']);
    const good = await contentOf(disk, path);
    for (let bit = 0; bit < good.length * 8; bit += 1) {
      const bad = Buffer.from(good);
      bad.writeUInt8(bad.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const read = await examineCheckpoint(await diskWith('/root/log/c', bad), '/root', c, UUID);
      expect(read.kind, `bit ${bit}`).toBe('unusable');
    }
  });

  it('takes any bytes for unusable', async () => {
    const text = fc.oneof(
      bytes(400),
      fc.json().map((json) => Buffer.from(`${json}\n`)),
    );
    await fc.assert(
      fc.asyncProperty(text, async (made) => {
        const disk = await diskWith('/root/log/c', made);
        expect((await examineCheckpoint(disk, '/root', c, UUID)).kind).toBe('unusable');
      }),
      runs(300),
    );
  });
});

describe('identity.json', () => {
  const good = {
    uuid: UUID,
    created: '1',
    formatVersion: 1,
    epoch: 1,
    device: '9',
    writtenBy: 's 1',
  };
  const changed = fc
    .tuple(fc.constantFrom(...Object.keys(good)), fc.jsonValue())
    .map(([key, value]) => Buffer.from(JSON.stringify({ ...good, [key]: value })));

  it('is read, or refused by name', async () => {
    const content = fc.oneof(
      bytes(200),
      changed,
      fc.json().map((text) => Buffer.from(text)),
    );
    await fc.assert(
      fc.asyncProperty(content, async (made) => {
        const disk = await diskWith('/root/identity.json', made);
        try {
          expect(await readIdentity(disk, '/root')).toMatchObject({ uuid: UUID });
        } catch (thrown) {
          if (!(thrown instanceof RootRefused) && !(thrown instanceof LogTooNew)) throw thrown;
        }
      }),
      runs(600),
    );
  });
});
