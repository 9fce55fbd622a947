/**
 * Goal: an export is the log, and nothing but the log: what is imported has the same bytes, what
 * was changed anywhere is refused, and a proof against a chain head is right for every pair of
 * positions. Method: random logs on a disk in memory, there and back.
 */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Disk } from '../../src/base/ports.js';
import { readTar } from '../../src/cli/evidence/read-tar.js';
import { exportAsLines, type ExportSummary } from '../../src/export/export-jsonl.js';
import { exportAsTar } from '../../src/export/export-tar.js';
import { checkHeads } from '../../src/export/chain-heads.js';
import { chainHexBefore, rawBatches, soundSegments } from '../../src/export/export-records.js';
import { importLines } from '../../src/export/import/import-jsonl.js';
import type { ImportedLog } from '../../src/export/import/imported-log.js';
import { importTar } from '../../src/export/import/import-tar.js';
import { tarOf as archiveOf } from '../../scripts/rig/tar.js';
import { ROOT, steppingClock, verified } from '../log/fixtures.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { diskWith, randomAppends, type RandomAppend } from '../support/random-logs.js';

const about = {
  release: 'stratalog 0.1.0',
  exported: '2026-01-31T00:00:00.000000000Z',
  damageAtEnd: () => Promise.resolve(null),
};

async function drained(
  pieces: AsyncGenerator<string | Uint8Array, ExportSummary, undefined>,
): Promise<{ readonly bytes: Buffer; readonly summary: ExportSummary }> {
  const parts: Buffer[] = [];
  for (;;) {
    const piece = await pieces.next();
    if (piece.done === true) return { bytes: Buffer.concat(parts), summary: piece.value };
    parts.push(Buffer.from(piece.value as string));
  }
}

const linesOf = (disk: Disk, range: { from?: number; to?: number } = {}) =>
  drained(exportAsLines(disk, ROOT, { ...about, ...range }));
const tarOf = (disk: Disk) =>
  drained(exportAsTar(disk, ROOT, { ...about, modified: new Date(1_700_000_000_000) }));

/** As the input arrives: in pieces that respect no line. */
async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    yield await Promise.resolve(bytes.subarray(at, at + size));
  }
}

interface Imported {
  readonly disk: FaultyDisk;
  readonly log: ImportedLog;
}

async function importedFrom(bytes: Buffer, size = 1000): Promise<Imported> {
  const disk = new FaultyDisk();
  await disk.makeDirectory(`${ROOT}/log`);
  const query = { disk, root: ROOT, clock: steppingClock(), writtenBy: 'stratalog 0.1.0' };
  const input = inPieces(bytes, size);
  const log =
    bytes[0] === 0x7b
      ? await importLines(input, { ...query, segmentBytes: 4096 })
      : await importTar(input, { ...query, readTar });
  return { disk, log };
}

async function recordBytes(disk: Disk): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const { bytes } of rawBatches(disk, await soundSegments(disk, ROOT)))
    parts.push(bytes);
  return Buffer.concat(parts);
}

/** The chain hash before each position, from the first to the end. */
async function headsOf(disk: Disk, end: number): Promise<string[]> {
  const sound = await soundSegments(disk, ROOT);
  const heads: string[] = [];
  for (let at = 0; at <= end; at++) heads.push((await chainHexBefore(disk, sound, at)) ?? '');
  return heads;
}

/** What says that an input is not sound; anything else that is thrown is a fault. */
const refusals = ['ExportInvalid', 'LogTooNew'];

const refusal = (input: Promise<unknown>): Promise<string> =>
  input.then(
    () => 'none',
    (thrown: unknown) => (thrown instanceof Error ? thrown.name : ''),
  );

/** A log of several segments. */
function manyAppends(count = 60): readonly RandomAppend[] {
  return [...Array(count).keys()].map((n) => ({
    events: [
      {
        stream: `snapshot-${n % 7}`,
        data: { text: 'größe '.repeat(n) },
        closesStream: n % 5 === 0,
      },
      ...(n % 3 === 0 ? [{ stream: 'daemon', data: {}, closesStream: false }] : []),
    ],
    sync: n % 2 === 0,
  }));
}

/** Of both formats. */
const formats = [
  ['jsonl', linesOf],
  ['tar', tarOf],
] as const;

describe.each(formats)('an export as %s', (_, exported) => {
  it('comes back as the same records, the same head and a log that verifies', async () => {
    await fc.assert(
      fc.asyncProperty(randomAppends, fc.integer({ min: 1, max: 5000 }), async (appends, size) => {
        const disk = await diskWith(appends);
        const { bytes, summary } = await exported(disk);
        const back = await importedFrom(bytes, size);
        expect(summary.stopped).toBeNull();
        expect(await recordBytes(back.disk)).toEqual(await recordBytes(disk));
        expect(back.log).toMatchObject({ epoch: 1, position: summary.to, chain: summary.chain });
        const { findings, summary: found } = await verified(back.disk);
        expect(findings).toEqual([]);
        expect(found).toMatchObject({ verifiedTo: summary.to, chain: summary.chain });
        const before = await verified(disk);
        expect(found.chain).toBe(before.summary.chain);
      }),
      { numRuns: 15 },
    );
  });

  it('is refused, or means the same, when a byte of it is another', async () => {
    const disk = await diskWith(manyAppends());
    const { bytes } = await exported(disk);
    const whole = await recordBytes(disk);
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, by) => {
          const changed = Buffer.from(bytes);
          changed.writeUInt8(changed.readUInt8(at) ^ by, at);
          const found = await refusal(importedFrom(changed));
          if (found !== 'none') {
            expect(refusals).toContain(found);
            refused += 1;
            return;
          }
          // Only what has no meaning in a tar: what fills its blocks, and the end of a checksum.
          expect(bytes[0]).not.toBe(0x7b);
          expect(await recordBytes((await importedFrom(changed)).disk)).toEqual(whole);
        },
      ),
      { numRuns: 120 },
    );
    expect(refused).toBeGreaterThan(50);
  });

  it('is refused when it is cut anywhere', async () => {
    const { bytes } = await exported(await diskWith(manyAppends(12)));
    // Behind its last entry a tar holds zeros alone.
    const end = bytes[0] === 0x7b ? bytes.length : bytes.findLastIndex((byte) => byte !== 0);
    await fc.assert(
      fc.asyncProperty(fc.nat(end - 1), async (length) => {
        expect(refusals).toContain(await refusal(importedFrom(bytes.subarray(0, length))));
      }),
      { numRuns: 60 },
    );
  });
});

describe('a part of a log', () => {
  it('holds the records of the range, and no append by half', async () => {
    await fc.assert(
      fc.asyncProperty(randomAppends, fc.nat(20), fc.nat(20), async (appends, one, other) => {
        const disk = await diskWith(appends);
        const whole = await linesOf(disk);
        const end = whole.summary.to;
        const [from, to] = [Math.min(one, other, end), Math.min(Math.max(one, other), end)];
        const part = await linesOf(disk, { from, to });
        const heads = await headsOf(disk, end);
        expect(part.summary).toMatchObject({ from, chain: heads[part.summary.to] });
        const ends = new Set([from, end]);
        let at = 0;
        for (const { events } of appends) ends.add((at += events.length));
        const wanted = [...ends].filter((position) => position >= from && position <= to);
        expect(part.summary.to).toBe(Math.max(...wanted));
        const lines = (bytes: Buffer) => bytes.toString('utf8').split('\n').slice(1, -2);
        expect(lines(part.bytes)).toEqual(lines(whole.bytes).slice(from, part.summary.to));
      }),
      { numRuns: 15 },
    );
  });

  it('makes no root when it does not begin at the beginning', async () => {
    const { bytes } = await linesOf(await diskWith(manyAppends(12)), { from: 2 });
    await expect(importedFrom(bytes)).rejects.toThrow(
      /begins at position 2, which requires a checkpoint/,
    );
  });
});

it('ends where the log is damaged, and says so', async () => {
  const disk = await diskWith(manyAppends());
  const [, second = ''] = disk.paths().filter((path) => path.endsWith('.seg'));
  const segment = disk.bytes(second);
  segment.writeUInt8(segment.readUInt8(400) ^ 1, 400);
  for (const exported of [linesOf, tarOf]) {
    const { bytes, summary } = await exported(disk);
    expect(summary.stopped).toMatch(/^the log is damaged at position \d+/);
    const back = await importedFrom(bytes);
    expect(back.log).toMatchObject({ complete: false, position: summary.to });
    expect((await verified(back.disk)).findings).toEqual([]);
  }
});

describe('a proof', () => {
  it('is right for every pair of positions', async () => {
    await fc.assert(
      fc.asyncProperty(randomAppends, randomAppends, async (appends, others) => {
        const disk = await diskWith(appends);
        const end = (await linesOf(disk)).summary.to;
        const heads = await headsOf(disk, end);
        // The clock of both is the same: what begins alike has the same chain as far as it does.
        const other = await diskWith(others);
        const otherEnd = (await linesOf(other)).summary.to;
        const otherHeads = await headsOf(other, otherEnd);
        const noted = heads.flatMap((chain) =>
          heads.map((__, position) => ({ chain, position, uuid: null })),
        );
        const verdicts = await checkHeads(other, ROOT, noted);
        for (const [index, { chain, position }] of noted.entries()) {
          const found = verdicts[index]?.verdict;
          if (position > otherEnd) expect(found).toBe('cut');
          else expect(found).toBe(otherHeads[position] === chain ? 'extends' : 'differs');
        }
        const alone = await checkHeads(
          other,
          ROOT,
          heads.map((chain) => ({ chain, position: null, uuid: null })),
        );
        for (const [position, { verdict }] of alone.entries()) {
          const isThere = otherHeads.includes(heads[position] ?? '');
          expect(verdict).toBe(isThere ? 'extends' : 'absent');
        }
      }),
      { numRuns: 15 },
    );
  });

  it('is none when the log is another, or cannot be read', async () => {
    const disk = await diskWith(manyAppends(12));
    const end = (await linesOf(disk)).summary.to;
    const [chain = ''] = (await headsOf(disk, end)).slice(-1);
    const uuid = '00000000-0000-4000-8000-000000000000';
    const verdicts = await checkHeads(disk, ROOT, [{ chain, position: end, uuid }]);
    expect(verdicts).toMatchObject([{ verdict: 'other-log' }]);
    const [first = ''] = disk.paths().filter((path) => path.endsWith('.seg'));
    disk.bytes(first).writeUInt8(1, 0);
    const unread = await checkHeads(disk, ROOT, [{ chain, position: end, uuid: null }]);
    expect(unread).toMatchObject([{ verdict: 'damaged' }]);
  });
});

it('refuses lines that mean the same and are written otherwise', async () => {
  const text = (await linesOf(await diskWith(manyAppends(12)))).bytes.toString('utf8');
  const others = [
    text.replace('"streamVersion":0', '"streamVersion":00'),
    text.replace('"stream":"', '"position":0,"stream":"'),
    text.replace('"type":"Noted"', '"type":"\\u004eoted"'),
    text.replace(',"data":{', ', "data":{'),
    `${text}\n`,
    text.replaceAll('\n', '\r\n'),
    text.slice(0, -1),
    `\ufeff${text}`,
  ];
  for (const other of others) {
    expect(other).not.toBe(text);
    expect(refusals).toContain(await refusal(importedFrom(Buffer.from(other))));
  }
});

/** With other words in its head, and a right sum. */
function withHead(text: string, from: string, to: string): Buffer {
  const changed = text.replace(from, to);
  const at = changed.lastIndexOf('\n', changed.length - 2) + 1;
  const sum = createHash('sha256').update(changed.slice(0, at)).digest('hex');
  return Buffer.from(changed.replace(/"sha256":"[0-9a-f]{64}"/, `"sha256":"${sum}"`));
}

/** Lines in which the first number of this name is another one, and the sum of the head right. */
async function linesWith(field: string, value: string): Promise<Buffer> {
  const text = (await linesOf(await diskWith(manyAppends(12)))).bytes.toString('utf8');
  const [, written = ''] = new RegExp(`"${field}":("?\\d+"?)`).exec(text) ?? [];
  return withHead(text, `"${field}":${written}`, `"${field}":${value}`);
}

it.each([
  ['epoch', '0'],
  ['epoch', '4294967296'],
  ['epoch', '1.5'],
  ['epoch', '-1'],
  ['formatVersion', '0'],
  ['formatVersion', '9007199254740993'],
  ['created', '"9223372036854775808"'],
  ['from', '9007199254740992'],
])('refuses lines whose head has %s %s, and names it', async (field, value) => {
  await expect(importedFrom(await linesWith(field, value))).rejects.toMatchObject({
    name: 'ExportInvalid',
    message: `"${field}" is missing or malformed`,
  });
});

it.each([
  ['streamVersion', '4294967296'],
  ['groupOffset', '4294967296'],
  ['schemaVersion', '65536'],
  ['flags', '65536'],
  ['time', '"9223372036854775808"'],
])('refuses lines with a record whose %s is %s, and says where', async (field, value) => {
  await expect(importedFrom(await linesWith(field, value))).rejects.toMatchObject({
    name: 'ExportInvalid',
    message: `the line for position 0 has a value out of range: ${field}`,
  });
});

it.each([
  ['epoch', '0'],
  ['epoch', '4294967296'],
  ['created', '"9223372036854775808"'],
  ['formatVersion', '0'],
])('refuses a tar whose identity has %s %s, and names it', async (field, value) => {
  const bytes = await repacked((await tarOf(await diskWith(manyAppends(12)))).bytes, (text) =>
    text.replace(new RegExp(`"${field}": "?\\d+"?`), `"${field}": ${value}`),
  );
  await expect(importedFrom(bytes)).rejects.toMatchObject({
    name: 'ExportInvalid',
    message: `identity.json in the tar is unusable: "${field}" is missing or malformed`,
  });
});

/** The tar with another identity, and a manifest that tells of it. */
async function repacked(bytes: Buffer, change: (text: string) => string): Promise<Buffer> {
  const files = new Map<string, Buffer>();
  for await (const { name, content } of readTar(inPieces(bytes, 1000))) {
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(Buffer.from(piece));
    files.set(name, Buffer.concat(pieces));
  }
  const identity = files.get('identity.json') ?? Buffer.alloc(0);
  const other = Buffer.from(change(identity.toString()));
  expect(other).not.toEqual(identity);
  files.set('identity.json', other);
  const sum = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
  const manifest = files.get('MANIFEST')?.toString().replace(sum(identity), sum(other)) ?? '';
  files.set('MANIFEST', Buffer.from(manifest));
  return archiveOf([...files].map(([name, content]) => ({ name, content })));
}
