/** Imports JSON lines into the files of a root: checks every line and rehashes every record. */
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

/** The longest record, plus its escaped names and the other fields. */
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
  options: JsonlOptions,
): Promise<ImportedLog> {
  const { disk, clock, root, writtenBy } = options;
  const lines = linesOf(input);
  const hash = createHash('sha256');
  const first = await lines.next();
  if (first.done === true) throw new ExportInvalid('the export is empty');
  hash.update(first.value.bytes);
  const head = readHeadLine(first.value.text);
  if (head.formatVersion > FORMAT_VERSION) throw new LogTooNew('the export', head.release);
  if (head.from > 0) {
    throw new ExportInvalid(
      `the export begins at position ${head.from}, which requires a checkpoint; ` +
        'import a tar, which contains one, or an export from position 0',
    );
  }
  if (!/^0{64}$/.test(head.chainBefore))
    throw new ExportInvalid('"chainBefore" must be all zeros at position 0');
  const { uuid, epoch } = head;
  await writeIdentity(disk, root, {
    ...{ uuid, epoch, formatVersion: FORMAT_VERSION, writtenBy },
    created: unixNanos(BigInt(head.created)),
    fileSystems: await fileSystemsOf(disk, root),
  });
  const segments = new ImportedSegments(disk, clock, segmentsOptions(options, uuid, epoch));
  try {
    const end = await importRecords(lines, segments, hash);
    await segments.end();
    return { uuid, epoch, ...end };
  } finally {
    await segments.close();
  }
}

function segmentsOptions(
  { root, writtenBy, segmentBytes }: JsonlOptions,
  uuid: string,
  epoch: number,
) {
  return { root, uuid, epoch, writtenBy, ...(segmentBytes === undefined ? {} : { segmentBytes }) };
}

async function importRecords(
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
      throw new ExportInvalid('the export has lines after its end line');
    }
    const found = { records: position, to: position, chain: chain.toString('hex') };
    if (end.records !== found.records || end.to !== found.to || end.chain !== found.chain) {
      throw new ExportInvalid('the end line does not match the records before it');
    }
    if (end.sha256 !== hash.digest('hex')) {
      throw new ExportInvalid('the SHA-256 in the end line does not match the export');
    }
    return { position, chain: end.chain, complete: end.complete };
  }
  throw new ExportInvalid(`the export is truncated at position ${position}: no end line`);
}

interface Line {
  readonly text: string;
  /** Including the newline. */
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
    if (restBytes > LINE_BYTES_MAX) throw new ExportInvalid('a line exceeds the maximum length');
  }
  if (restBytes > 0) throw new ExportInvalid('the export is truncated within a line');
}

function decoded(decoder: TextDecoder, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes.subarray(0, bytes.length - 1));
  } catch (cause) {
    throw new ExportInvalid('a line is not valid UTF-8', { cause });
  }
}
