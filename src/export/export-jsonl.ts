/**
 * Exports the log of a root as JSON lines while reading it. The export of a damaged log is sound
 * up to the damage; its last line marks it as incomplete.
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
  /** First position; default: the first retained record. */
  readonly from?: number;
  /** Position after the last one; default: the end of the log. */
  readonly to?: number;
  /** The release that makes the export. */
  readonly release: string;
  /** Current time, RFC 3339. */
  readonly exported: string;
  /**
   * Damage after the last record, or null. The caller decides, because it knows whether a daemon
   * is writing there.
   */
  readonly damageAtEnd: () => Promise<string | null>;
}

export interface ExportSummary {
  readonly from: number;
  readonly to: number;
  readonly records: number;
  readonly chain: string;
  /** Why the export ends early; null if it is complete. */
  readonly stopped: string | null;
}

/** The root has no log, or not the requested positions. */
export class NothingToExport extends Error {
  override readonly name = 'NothingToExport';
}

/**
 * Yields the export in pieces of whole lines.
 *
 * Fails  NothingToExport, LogTooNew, HostFault. Damage is not a failure: the summary reports it.
 */
export async function* exportAsLines(
  disk: Disk,
  root: string,
  options: ExportOptions,
): AsyncGenerator<string, ExportSummary, undefined> {
  const sound = await soundSegments(disk, root);
  const start = await startOf(disk, root, sound, options);
  const hash = createHash('sha256');
  const hashed = (text: string): string => {
    hash.update(text);
    return text;
  };
  yield hashed(`${start.head}\n`);
  let { chain } = start;
  let to = start.from;
  let stopped: string | null = null;
  try {
    for await (const batch of rawBatches(disk, sound, start.from, options.to)) {
      const starts = wholeAppendsBefore(batch, options.to ?? Infinity);
      // Encode the whole batch before yielding, so the counts cover exactly what was yielded.
      for (const piece of [...piecesOf(batch, starts)]) yield hashed(piece);
      const last = starts.at(-1);
      if (last === undefined) continue;
      chain = chainAt(batch.bytes, last);
      to += starts.length;
    }
    if (to < (options.to ?? Infinity)) stopped = await options.damageAtEnd();
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged) && !(thrown instanceof ExportInvalid)) throw thrown;
    stopped = reasonOf(thrown);
  }
  const records = to - start.from;
  const sha256 = hash.digest('hex');
  yield `${endLine({ records, to, chain, complete: stopped === null, sha256 })}\n`;
  return { from: start.from, to, records, chain, stopped };
}

async function startOf(
  disk: Disk,
  root: string,
  sound: SoundSegments,
  options: ExportOptions,
): Promise<{ readonly from: number; readonly chain: string; readonly head: string }> {
  const { identity, segments } = sound;
  const header = segments.at(-1)?.header;
  const origin = identity ?? header;
  if (origin === undefined) {
    throw new NothingToExport(`${root} has no readable identity.json and no readable segment`);
  }
  const first = segments[0]?.header.firstPosition ?? 0;
  const from = Math.max(options.from ?? first, first);
  const chain = await chainHexBefore(disk, sound, from);
  if (chain === null) throw new NothingToExport(`the log ends before position ${from}`);
  const head = headLine({
    uuid: origin.uuid,
    epoch: origin.epoch,
    formatVersion: FORMAT_VERSION,
    created: origin.created.toString(),
    release: options.release,
    exported: options.exported,
    from,
    chainBefore: chain,
  });
  return { from, chain, head };
}

/** Starts of the records before a position, without an append that continues past it. */
function wholeAppendsBefore({ bytes, records, starts }: RawBatch, to: number): readonly number[] {
  let count = records.findIndex(({ position }) => position >= to);
  if (count === -1) return starts;
  while (count > 0 && unitContinues(bytes, starts[count - 1] ?? 0)) count -= 1;
  return starts.slice(0, count);
}

/** Minimum characters in a piece. */
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
