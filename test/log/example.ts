/**
 * The example of docs/log-format.md. `npx tsx test/log/example.ts` prints it for the document;
 * format-document.test.ts holds the document to it.
 */
import { pathToFileURL } from 'node:url';
import { assert } from '../../src/base/assert.js';
import { streamVersion } from '../../src/base/units.js';
import { CHECKSUMS, recordAt } from '../../src/log/format/record-step.js';
import { aligned, CHAIN_BYTES, RECORD, SEGMENT } from '../../src/log/format/layout.js';
import { IndexBuilder } from '../../src/log/index/index-builder.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { anEvent, openTestLog, ROOT, UUID } from './fixtures.js';

/** A segment with two appends; the second closes its stream. */
export async function exampleSegment(): Promise<Buffer> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk);
  const prepared = { ...anEvent('snapshot-1', 0, { key: 'größe' }), type: 'SnapshotPreparing' };
  const removed = {
    ...anEvent('snapshot-1', 1, {}, true),
    type: 'SnapshotAbandoned',
    expectedVersion: streamVersion(1),
  };
  log.append([prepared], { sync: false });
  await log.append([removed], { sync: true }).durable;
  await log.close();
  const bytes = disk.bytes(`${ROOT}/log/00000000000000000000.seg`);
  return bytes.subarray(0, aligned(bytes.findLastIndex((byte) => byte !== 0) + 1));
}

/** The index of that segment, as if another segment had followed. */
export function exampleIndex(segment: Buffer): Buffer {
  const builder = new IndexBuilder(UUID, 0);
  for (let at: number = SEGMENT.headerBytes; at < segment.length;) {
    const padded = recordAt(segment, at, segment.length, null, CHECKSUMS);
    assert(typeof padded === 'number', 'the example holds records');
    builder.take(segment, at, at, padded);
    at += padded;
  }
  const chainAt = (builder.lastOffset ?? 0) + RECORD.chain;
  return builder.finish(segment.subarray(chainAt, chainAt + CHAIN_BYTES));
}

/** As `xxd` prints it. */
export function hexDump(bytes: Buffer): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    const hex = row.toString('hex').replace(/(.{4})(?=.)/g, '$1 ');
    const text = row.toString('latin1').replace(/[^ -~]/g, '.');
    lines.push(`${at.toString(16).padStart(8, '0')}: ${hex.padEnd(39)}  ${text}`);
  }
  return lines.join('\n');
}

const script = process.argv[1];
if (script !== undefined && import.meta.url === pathToFileURL(script).href) {
  const segment = await exampleSegment();
  console.log(`${hexDump(segment)}\n\n${hexDump(exampleIndex(segment))}`);
}
