/** The records of some streams in a segment that has no index, or none that can be used. */
import type { DiskFile } from '../../base/ports.js';
import { decodeIfUsable, isOfStreams } from '../format/codec.js';
import { isIntact } from '../format/record-step.js';
import { walkHeads } from '../read/heads.js';
import { failAtDamage } from '../read/log-end.js';
import { startOf } from '../read/scan.js';
import type { ListedSegment } from '../read/segment-list.js';
import type { LogRecord } from '../types.js';

/**
 * Reads the heads of all records, and those of the streams whole.
 *
 * Fails  LogDamaged when one of them is not what was written, or when a sealed segment does not
 *        lead to the next one
 */
export async function scanForStreams(
  file: DiskFile,
  segment: ListedSegment,
  next: ListedSegment | null,
  streams: ReadonlySet<string>,
): Promise<LogRecord[]> {
  const isNamed = isOfStreams(streams);
  const found: LogRecord[] = [];
  let unsound = 0;
  const end = await walkHeads(
    file,
    startOf(segment),
    (bytes, at, _offset, padded) => {
      if (!isNamed(bytes, at)) return true;
      const record = isIntact(bytes, at, padded) ? decodeIfUsable(bytes, at) : null;
      if (record !== null) found.push(record);
      else unsound += 1;
      return unsound === 0;
    },
    // Only checksums show where the newest segment ends.
    { checks: next === null },
  );
  if (unsound > 0 || (next !== null && end.position !== next.header.firstPosition)) {
    return failAtDamage(file, segment, next);
  }
  return found.filter((record) => record.position < end.position);
}
