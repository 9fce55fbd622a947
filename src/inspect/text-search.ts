/**
 * Which snapshots ever bore a text. The bytes of the segments are searched for it as it stands in
 * JSON, and only records that hold it are decoded: as fast as the disk.
 */
import type { Disk } from '../base/ports.js';
import { snapshotId, type SnapshotId } from '../base/units.js';
import { decodeRecord, isIntact } from '../log/codec.js';
import { withFile } from '../log/files.js';
import { walkHeads } from '../log/heads.js';
import { tellDamage } from '../log/index-files.js';
import type { IndexedLog } from '../log/indexed-log.js';
import type { SurveyedSegment } from '../log/survey.js';
import { idOfStream } from '../machines/streams.js';
import { bearsText } from './bears-text.js';

export async function findText(
  disk: Disk,
  log: IndexedLog,
  text: string,
): Promise<readonly SnapshotId[]> {
  const found = new Set<SnapshotId>();
  const needle = Buffer.from(JSON.stringify(text).slice(1, -1), 'utf8');
  const segments = await log.segments();
  for (const [at, segment] of segments.entries()) {
    await searchSegment(disk, segment, segments[at + 1] ?? null, { text, needle }, found);
  }
  return [...found].sort((one, other) => one - other).map(snapshotId);
}

async function searchSegment(
  disk: Disk,
  segment: SurveyedSegment,
  next: SurveyedSegment | null,
  { text, needle }: { readonly text: string; readonly needle: Buffer },
  found: Set<SnapshotId>,
): Promise<void> {
  await withFile(disk, segment.path, 'read', async (file) => {
    let isSound = true;
    /** Where the bytes that were searched begin in the file, and the next place with the text. */
    let searched = -1;
    let hit = -1;
    const pending: { readonly id: SnapshotId; readonly position: number }[] = [];
    const end = await walkHeads(
      file,
      segment,
      (bytes, at, offset, padded) => {
        const base = offset - at;
        if (base !== searched || (hit !== -1 && hit < at)) {
          hit = bytes.indexOf(needle, at);
          searched = base;
        }
        if (hit === -1 || hit >= at + padded) return true;
        isSound = isIntact(bytes, at, padded);
        if (!isSound) return false;
        const record = decodeRecord(bytes, at);
        const id = idOfStream(record.stream);
        const isNew = id !== null && !found.has(id);
        if (isNew && bearsText(record, text)) pending.push({ id, position: record.position });
        return true;
      },
      { checks: next === null },
    );
    if (!isSound || (next !== null && end.position !== next.header.firstPosition)) {
      await tellDamage(file, segment, next);
    }
    for (const { id, position } of pending) if (position < end.position) found.add(id);
  });
}
