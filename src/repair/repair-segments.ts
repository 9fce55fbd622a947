/** Writes the segments of a repair: rewritten ones, and the new one with the repair event. */
import type { Disk, DiskFile } from '../base/ports.js';
import { logDirectory, removeIfThere, withFile } from '../log/files.js';
import { encodeRecord, paddedLength } from '../log/format/codec.js';
import { FLAG_UNIT_CONTINUES, SEGMENT } from '../log/format/layout.js';
import { encodeHeader, type SegmentHeader } from '../log/format/segment-header.js';
import type { RewrittenSegment } from './plan/repair-plan.js';

const COPY_BYTES = 1024 * 1024;

type NewHeader = Omit<SegmentHeader, 'headerBytes'>;

/** Writes a new header and copies the kept records unchanged. */
export async function stageRewritten(
  disk: Disk,
  root: string,
  path: string,
  segment: RewrittenSegment,
  header: Pick<SegmentHeader, 'uuid' | 'created'>,
): Promise<void> {
  const { fromOffset, toOffset } = segment;
  await stage(disk, path, { ...segment, ...header }, async (file) => {
    const source = `${logDirectory(root)}/${segment.from}`;
    await withFile(disk, source, 'read', async (old) => {
      const buffer = Buffer.alloc(COPY_BYTES);
      for (let offset = fromOffset; offset < toOffset;) {
        const slice = buffer.subarray(0, Math.min(buffer.length, toOffset - offset));
        const filled = await old.read(slice, offset);
        if (filled === 0) return;
        await file.write(slice.subarray(0, filled), SEGMENT.headerBytes + offset - fromOffset);
        offset += filled;
      }
    });
  });
}

export interface EventToWrite {
  readonly stream: string;
  readonly streamVersion: number;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Writes a segment with the events as one append. */
export async function stageEvents(
  disk: Disk,
  path: string,
  header: NewHeader,
  events: readonly EventToWrite[],
): Promise<void> {
  const chain = Buffer.from(header.chain);
  const records = events.map((event, index) => {
    const json = JSON.stringify(event.data);
    const jsonBytes = Buffer.byteLength(json);
    const bytes = Buffer.alloc(paddedLength(event.stream, event.type, jsonBytes));
    const record = {
      ...{ position: header.firstPosition + index, time: header.created },
      ...{ stream: event.stream, streamVersion: event.streamVersion, groupOffset: index },
      ...{ type: event.type, schemaVersion: event.schemaVersion },
      flags: index < events.length - 1 ? FLAG_UNIT_CONTINUES : 0,
      ...{ json, jsonBytes },
    };
    encodeRecord(bytes, 0, record, chain);
    return bytes;
  });
  await stage(disk, path, header, (file) =>
    file.write(Buffer.concat(records), SEGMENT.headerBytes),
  );
}

/** Replaces a file that an interrupted repair staged: it is only a copy. */
async function stage(
  disk: Disk,
  path: string,
  header: NewHeader,
  fill: (file: DiskFile) => Promise<void>,
): Promise<void> {
  await removeIfThere(disk, path);
  await withFile(disk, path, 'create', async (file) => {
    await file.write(encodeHeader(header), 0);
    await fill(file);
    await file.sync();
  });
}
