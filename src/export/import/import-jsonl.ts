/** An export in lines of JSON as the files of a root: every line checked, every record hashed again. */
import { createHash } from 'node:crypto';
import { TextDecoder } from 'node:util';
import type { Clock, Disk } from '../../base/ports.js';
import { unixNanos } from '../../base/units.js';
import { ExportInvalid, readEndLine, readHeadLine, readRecordLine } from '../export-lines.js';
import { LogTooNew } from '../../log/errors.js';
import { fileSystemsOf } from '../../log/root/file-systems.js';
import { CHAIN_BYTES, FORMAT_VERSION, RECORD_BYTES_MAX } from '../../log/format/layout.js';
import { writeIdentity } from '../../log/root/identity.js';
import type { ImportedLog } from './imported-log.js';
import { ImportedSegments } from './import-segments.js';

/** The longest record, escaped names around it, and room. */
const LINE_BYTES_MAX = RECORD_BYTES_MAX + 4096;
const NEWLINE = 0x0a;

export interface JsonlOptions {
  readonly disk: Disk;
  readonly clock: Pick<Clock, 'now'>;
  /** An empty directory with an empty `log/` in it. */
  readonly root: string;
  readonly writtenBy: string;
  readonly segmentBytes?: number;
}

/** Fails with ExportInvalid, LogTooNew or HostFault. */
export async function importLines(
  input: AsyncIterable<Uint8Array>,
  query: JsonlOptions,
): Promise<ImportedLog> {
  const { disk, clock, root, writtenBy } = query;
  const lines = linesOf(input);
  const hash = createHash('sha256');
  const first = await lines.next();
  if (first.done === true) throw new ExportInvalid('the export is empty');
  hash.update(first.value.bytes);
  const head = readHeadLine(first.value.text);
  if (head.formatVersion > FORMAT_VERSION) throw new LogTooNew('the export', head.release);
  if (head.from > 0) {
    throw new ExportInvalid(
      `the export begins at position ${head.from}, and a root cannot begin there without a ` +
        'checkpoint. Import a tar, which has one, or an export from position 0',
    );
  }
  if (!/^0{64}$/.test(head.chainBefore))
    throw new ExportInvalid('nothing stands before position 0');
  const { uuid, epoch } = head;
  await writeIdentity(disk, root, {
    ...{ uuid, epoch, formatVersion: FORMAT_VERSION, writtenBy },
    created: unixNanos(BigInt(head.created)),
    fileSystems: await fileSystemsOf(disk, root),
  });
  const segments = new ImportedSegments(disk, clock, queryOf(query, uuid, epoch));
  try {
    const end = await takeRecords(lines, segments, hash);
    await segments.end();
    return { uuid, epoch, ...end };
  } finally {
    await segments.close();
  }
}

function queryOf({ root, writtenBy, segmentBytes }: JsonlOptions, uuid: string, epoch: number) {
  return { root, uuid, epoch, writtenBy, ...(segmentBytes === undefined ? {} : { segmentBytes }) };
}

async function takeRecords(
  lines: AsyncGenerator<Line, void, undefined>,
  segments: ImportedSegments,
  hash: ReturnType<typeof createHash>,
): Promise<{ readonly position: number; readonly chain: string; readonly complete: boolean }> {
  const chain = Buffer.alloc(CHAIN_BYTES);
  const before = Buffer.alloc(CHAIN_BYTES);
  let position = 0;
  for await (const { text, bytes } of lines) {
    const end = readEndLine(text);
    if (end === null) {
      chain.copy(before);
      await segments.append(readRecordLine(text, chain, position), before);
      position += 1;
      hash.update(bytes);
      continue;
    }
    if ((await lines.next()).done !== true) {
      throw new ExportInvalid('there are lines behind the last line of the export');
    }
    const found = { records: position, to: position, chain: chain.toString('hex') };
    if (end.records !== found.records || end.to !== found.to || end.chain !== found.chain) {
      throw new ExportInvalid('the last line does not say what stands before it');
    }
    if (end.sha256 !== hash.digest('hex')) {
      throw new ExportInvalid(
        'the bytes of the export are not those that its last line was made of',
      );
    }
    return { position, chain: end.chain, complete: end.complete };
  }
  throw new ExportInvalid(`the export is cut: it ends at position ${position} without a last line`);
}

interface Line {
  readonly text: string;
  /** With its newline. */
  readonly bytes: Uint8Array;
}

async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<Line, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  for await (const chunk of input) {
    let at = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, at)) {
      const part = chunk.subarray(at, end + 1);
      const bytes = restBytes === 0 ? part : Buffer.concat([...rest, part]);
      rest = [];
      restBytes = 0;
      at = end + 1;
      yield { text: decoded(decoder, bytes), bytes };
    }
    if (at < chunk.length) rest.push(chunk.subarray(at));
    restBytes += chunk.length - at;
    if (restBytes > LINE_BYTES_MAX) throw new ExportInvalid('a line is longer than any record');
  }
  if (restBytes > 0) throw new ExportInvalid('the export is cut within a line');
}

function decoded(decoder: TextDecoder, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes.subarray(0, bytes.length - 1));
  } catch (cause) {
    throw new ExportInvalid('a line is no UTF-8', { cause });
  }
}
