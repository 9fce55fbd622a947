/**
 * A root's log as an export in lines of JSON, made as it is read. Where the log is damaged the
 * export ends, says so in its last line, and is sound up to there.
 */
import { createHash } from 'node:crypto';
import type { Disk } from '../base/ports.js';
import { reasonOf } from '../base/errors.js';
import { unitContinues } from '../log/format/codec.js';
import { LogDamaged } from '../log/errors.js';
import { FORMAT_VERSION } from '../log/format/layout.js';
import { endLine, ExportInvalid, headLine, recordLine } from './export-lines.js';
import {
  chainAt,
  chainHexBefore,
  rawBatches,
  soundSegments,
  type RawBatch,
  type SoundSegments,
} from './export-records.js';

export interface ExportOptions {
  /** First position; the first record that is kept by default. */
  readonly from?: number;
  /** First position that is left out; the end of the log by default. */
  readonly to?: number;
  /** The release that makes the export. */
  readonly release: string;
  /** Now, RFC 3339. */
  readonly exported: string;
  /**
   * What is wrong with the log behind its last record, or null: known to whoever knows whether a
   * daemon is just writing there.
   */
  readonly wrongAtEnd: () => Promise<string | null>;
}

export interface ExportSummary {
  readonly from: number;
  readonly to: number;
  readonly records: number;
  readonly chain: string;
  /** Why the export ends before the log should; null when it is whole. */
  readonly stopped: string | null;
}

/** There is nothing of a log in this root, or not what is wished for. */
export class NothingToExport extends Error {
  override readonly name = 'NothingToExport';
}

/**
 * Pieces of the export, each of whole lines.
 *
 * Fails  NothingToExport, LogTooNew, HostFault; damage is no failure, but told in the summary
 */
export async function* exportAsLines(
  disk: Disk,
  root: string,
  query: ExportOptions,
): AsyncGenerator<string, ExportSummary, undefined> {
  const sound = await soundSegments(disk, root);
  const begin = await beginOf(disk, root, sound, query);
  const hash = createHash('sha256');
  const pluralize = (text: string): string => {
    hash.update(text);
    return text;
  };
  yield pluralize(`${begin.head}\n`);
  let { chain } = begin;
  let to = begin.from;
  let stopped: string | null = null;
  try {
    for await (const batch of rawBatches(disk, sound, begin.from, query.to)) {
      const starts = wholeBelow(batch, query.to ?? Infinity);
      // All of a batch or nothing of it: what is counted is what was handed over.
      for (const piece of [...piecesOf(batch, starts)]) yield pluralize(piece);
      const last = starts.at(-1);
      if (last === undefined) continue;
      chain = chainAt(batch.bytes, last);
      to += starts.length;
    }
    if (to < (query.to ?? Infinity)) stopped = await query.wrongAtEnd();
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged) && !(thrown instanceof ExportInvalid)) throw thrown;
    stopped = reasonOf(thrown);
  }
  const records = to - begin.from;
  const sha256 = hash.digest('hex');
  yield `${endLine({ records, to, chain, complete: stopped === null, sha256 })}\n`;
  return { from: begin.from, to, records, chain, stopped };
}

async function beginOf(
  disk: Disk,
  root: string,
  sound: SoundSegments,
  query: ExportOptions,
): Promise<{ readonly from: number; readonly chain: string; readonly head: string }> {
  const { identity, segments } = sound;
  const header = segments.at(-1)?.header;
  const whose = identity ?? header;
  if (whose === undefined) {
    throw new NothingToExport(`${root} has neither an identity nor a segment that can be read`);
  }
  const first = segments[0]?.header.firstPosition ?? 0;
  const from = Math.max(query.from ?? first, first);
  const chain = await chainHexBefore(disk, sound, from);
  if (chain === null) throw new NothingToExport(`the log ends before position ${from}`);
  const head = headLine({
    uuid: whose.uuid,
    epoch: whose.epoch,
    formatVersion: FORMAT_VERSION,
    created: whose.created.toString(),
    release: query.release,
    exported: query.exported,
    from,
    chainBefore: chain,
  });
  return { from, chain, head };
}

/** The records below a position that are not of an append which goes on behind it. */
function wholeBelow({ bytes, records, starts }: RawBatch, to: number): readonly number[] {
  let count = records.findIndex(({ position }) => position >= to);
  if (count === -1) return starts;
  while (count > 0 && unitContinues(bytes, starts[count - 1] ?? 0)) count -= 1;
  return starts.slice(0, count);
}

/** Characters that are handed over at once. */
const PIECE_LENGTH = 256 * 1024;

function* piecesOf({ bytes }: RawBatch, starts: readonly number[]): Iterable<string> {
  let lines: string[] = [];
  let length = 0;
  for (const start of starts) {
    const line = recordLine(bytes, start);
    lines.push(line, '\n');
    length += line.length;
    if (length < PIECE_LENGTH) continue;
    yield lines.join('');
    lines = [];
    length = 0;
  }
  if (lines.length > 0) yield lines.join('');
}
