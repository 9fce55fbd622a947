/**
 * Goal: docs/log-format.md suffices to read a log. Method: a decoder that knows only what the page
 * says, offsets typed in from its tables, reads the page's own example; nothing of src/log helps.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { RECORD, SEGMENT } from '../../src/log/format/layout.js';
import { BLOCK, GROUP, INDEX, PAGE } from '../../src/log/index/index-format.js';
import { exampleIndex, exampleSegment, hexDump } from './example.js';

const page = readFileSync(`${import.meta.dirname}/../../docs/log-format.md`, 'utf8');

function block(language: string): string {
  const found = new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(page)?.[1];
  if (found === undefined) throw new Error(`the page has no ${language} block`);
  return found;
}

const dump = block('hex');
const bytesOf = (hex: string): Buffer =>
  Buffer.from(hex.replace(/^[0-9a-f]{8}: (.{39}).*$/gm, '$1').replace(/\s/g, ''), 'hex');
const segment = bytesOf(dump);
const indexDump = block('text');

const fieldsOf = (fields: Readonly<Record<string, number>>, sizes: readonly string[]): number[] =>
  Object.entries(fields)
    .filter(([name]) => !sizes.includes(name))
    .map(([, at]) => at)
    .sort((a, b) => a - b);

/** Written from the page, too; for a group of one page. */
function offsetsByThePage(bytes: Buffer, prefix: string, wanted: number): unknown {
  expect(bytes.toString('latin1', 0, 8)).toBe('STRATIDX');
  expect(crc32(bytes.subarray(12))).toBe(bytes.readUInt32LE(8));
  expect(crc32(bytes.subarray(16, bytes.readUInt32LE(20)))).toBe(bytes.readUInt32LE(12));
  expect(bytes.readUInt32LE(96)).toBe(1);
  const group = 124;
  expect(Number(bytes.readBigUInt64LE(group + 8))).toBe(wanted);
  expect(Number(bytes.readBigUInt64LE(group + 16))).toBe(wanted);
  const prefixEnd = group + 26 + bytes.readUInt16LE(group + 24);
  expect(bytes.toString('latin1', group + 26, prefixEnd)).toBe(prefix);
  const directory = bytes.readUInt32LE(group + 4);
  expect(Number(bytes.readBigUInt64LE(directory))).toBe(wanted);
  const [, count = 0, ...deltas] = bytes.subarray(bytes.readUInt32LE(directory + 8));
  let offset = 0;
  const offsets = deltas.slice(0, count >> 1).map((delta) => (offset += delta) * 8);
  return { offsets, closes: count % 2 === 1 };
}

/** Written from the page, with its numbers. */
function decodeByThePage(bytes: Buffer): unknown {
  expect(bytes.toString('latin1', 0, 8)).toBe('STRATLOG');
  const headerLength = bytes.readUInt32LE(12);
  expect(crc32(bytes.subarray(12, headerLength))).toBe(bytes.readUInt32LE(8));
  const uuid = bytes.toString('hex', 64, 80).match(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/);
  const header = {
    formatVersion: bytes.readUInt32LE(16),
    epoch: bytes.readUInt32LE(20),
    writtenBy: bytes.toString('utf8', 24, 64).replace(/\0*$/, ''),
    uuid: uuid?.slice(1).join('-'),
    firstPosition: Number(bytes.readBigUInt64LE(80)),
    created: bytes.readBigInt64LE(96).toString(),
  };
  const records: unknown[] = [];
  let chain = bytes.subarray(104, 136);
  for (let offset = headerLength; offset < bytes.length;) {
    const length = bytes.readUInt32LE(offset + 4);
    const record = bytes.subarray(offset, offset + Math.ceil(length / 8) * 8);
    expect(crc32(record.subarray(4))).toBe(record.readUInt32LE(0));
    const hashed = Buffer.concat([record.subarray(4, 40), chain, record.subarray(72)]);
    chain = record.subarray(40, 72);
    expect(createHash('sha256').update(hashed).digest('hex')).toBe(chain.toString('hex'));
    const typeAt = 72 + record.readUInt16LE(36);
    const jsonAt = typeAt + record.readUInt16LE(38);
    records.push({
      offset,
      position: Number(record.readBigUInt64LE(8)),
      time: record.readBigInt64LE(16).toString(),
      stream: record.toString('latin1', 72, typeAt),
      streamVersion: record.readUInt32LE(24),
      groupOffset: record.readUInt32LE(28),
      type: record.toString('latin1', typeAt, jsonAt),
      schemaVersion: record.readUInt16LE(32),
      flags: record.readUInt16LE(34),
      data: JSON.parse(record.toString('utf8', jsonAt, length)) as unknown,
      chain: chain.toString('hex'),
    });
    offset += record.length;
  }
  return { header, records };
}

describe('docs/log-format.md', () => {
  it('shows what the program writes', async () => {
    expect(dump.trimEnd()).toBe(hexDump(await exampleSegment()));
  });

  it('can be decoded by its own words, to what it says', () => {
    expect(decodeByThePage(segment)).toEqual(JSON.parse(block('json')));
  });

  it('has each field of the program in its tables, at the same offset', () => {
    const rows = [...page.matchAll(/^\| +(\d+) +\| +([\d–]+) +\| /gm)].map(([, at]) => Number(at));
    const { headBytes, ...recordFields } = RECORD;
    const sizes = new Set(['headerBytes', 'writtenByBytes']);
    const segmentFields = Object.entries(SEGMENT).filter(([name]) => !sizes.has(name));
    expect(rows).toEqual([
      ...segmentFields.map(([, at]) => at).sort((a, b) => a - b),
      ...Object.values(recordFields).sort((a, b) => a - b),
      headBytes,
      ...fieldsOf(INDEX, ['headerBytes', 'version']),
      ...fieldsOf(GROUP, []),
      ...fieldsOf(BLOCK, ['records', 'bytes']),
      ...fieldsOf(PAGE, ['bytes']),
    ]);
  });

  it('shows the index that the program writes, and says how it is read', () => {
    expect(indexDump.trimEnd()).toBe(hexDump(exampleIndex(segment)));
    expect(offsetsByThePage(bytesOf(indexDump), 'snapshot-', 1)).toEqual({
      offsets: [136, 256],
      closes: true,
    });
  });

  it('gives a command that sums a segment, and what it prints of the golden log', () => {
    const [command = '', ...printed] = block('console').trimEnd().split('\n');
    const cwd = fileURLToPath(new URL('../golden/v0.1.0/root/log', import.meta.url));
    const found = execFileSync('sh', ['-ec', command.replace(/^\$ /, '')], { cwd });
    expect(found.toString().trimEnd().split('\n')).toEqual(printed);
  });

  it('gives commands that verify the chain', () => {
    const directory = mkdtempSync(`${tmpdir()}/stratalog-format-`);
    try {
      writeFileSync(`${directory}/example.seg`, segment);
      const script = [...page.matchAll(/```sh\n([^]*?)```/g)].map(([, text]) => text).join('');
      const printed = execFileSync('sh', ['-ec', script], { cwd: directory, encoding: 'utf8' });
      const lines = printed
        .trim()
        .split('\n')
        .map((line) => line.slice(0, 64));
      expect(lines).toHaveLength(4);
      expect(lines[0]).toBe(lines[1]);
      expect(lines[2]).toBe(lines[3]);
      expect(lines[0]).not.toBe(lines[2]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
