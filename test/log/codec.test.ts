/**
 * Goal: what is encoded is what is decoded, for every record that the writer lets through, and
 * neither CRC nor chain can be fooled by a single bit.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRecord, encodeRecord, paddedLength } from '../../src/log/format/codec.js';
import { CHECKSUMS, recordAt } from '../../src/log/format/record-step.js';
import type { RecordToEncode } from '../../src/log/format/codec.js';

const aName = fc.stringMatching(/^[!-~]{1,40}$/);

const aRecord = fc
  .record({
    position: fc.maxSafeNat(),
    time: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    stream: aName,
    streamVersion: fc.nat(0xffff_ffff),
    groupOffset: fc.nat(0xffff_ffff),
    type: aName,
    schemaVersion: fc.nat(0xffff),
    flags: fc.nat(3),
    json: fc
      .dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue())
      .map((body) => JSON.stringify(body)),
  })
  .map((fields): RecordToEncode => ({ ...fields, jsonBytes: Buffer.byteLength(fields.json) }));

function encoded(record: RecordToEncode, before: Buffer, at = 0): { bytes: Buffer; after: Buffer } {
  const padded = paddedLength(record.stream, record.type, record.jsonBytes);
  // What stood in the buffer before must not shine through.
  const bytes = Buffer.alloc(at + padded, 0xa5);
  const after = Buffer.from(before);
  expect(encodeRecord(bytes, at, record, after)).toBe(padded);
  return { bytes, after };
}

describe('a record as bytes', () => {
  it('decodes to what was encoded, at any offset and behind any record', () => {
    fc.assert(
      fc.property(
        aRecord,
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.nat(9),
        (record, before, words) => {
          const at = words * 8;
          const { bytes, after } = encoded(record, Buffer.from(before), at);
          const chain = Buffer.from(before);
          const untouched = Buffer.from(bytes);
          const checks = { checksum: true, chain };
          const padded = recordAt(bytes, at, bytes.length, record.position, checks);
          expect(padded).toBe(bytes.length - at);
          expect(chain.equals(after)).toBe(true);
          expect(bytes.equals(untouched)).toBe(true);
          expect(decodeRecord(bytes, at)).toEqual({
            position: record.position,
            time: record.time,
            stream: record.stream,
            streamVersion: record.streamVersion,
            type: record.type,
            schemaVersion: record.schemaVersion,
            data: JSON.parse(record.json) as unknown,
            closesStream: (record.flags & 1) === 1,
          });
        },
      ),
    );
  });

  it('fails its checksum when any one bit is flipped', () => {
    const [record] = fc.sample(aRecord, { numRuns: 1, seed: 1 });
    if (!record) throw new Error('no record');
    const { bytes } = encoded(record, Buffer.alloc(32));
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const step = recordAt(flipped, 0, flipped.length, null, CHECKSUMS);
      expect(step, `bit ${bit}`).not.toBeTypeOf('number');
    }
  });

  it('does not continue another chain', () => {
    const [record] = fc.sample(aRecord, { numRuns: 1, seed: 2 });
    if (!record) throw new Error('no record');
    const { bytes } = encoded(record, Buffer.alloc(32, 1));
    const other = Buffer.alloc(32, 2);
    expect(recordAt(bytes, 0, bytes.length, null, { checksum: true, chain: other })).toMatchObject({
      kind: 'contradiction',
      about: 'chain',
    });
    expect(other.equals(Buffer.alloc(32, 2))).toBe(true);
  });

  it('refuses flags that a later release may give a meaning', () => {
    const [record] = fc.sample(aRecord, { numRuns: 1, seed: 3 });
    if (!record) throw new Error('no record');
    const { bytes } = encoded({ ...record, flags: 4 }, Buffer.alloc(32));
    expect(() => decodeRecord(bytes, 0)).toThrow(/unknown flags/);
  });
});
