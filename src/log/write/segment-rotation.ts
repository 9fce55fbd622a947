/**
 * The files the writer writes to. A segment is filled with zeros and synced before it is needed,
 * because an fdatasync into allocated space need not move the file's length and blocks
 * (151 against 226 µs when measured); and it gets its name only when everything before it is
 * durable, with its header already on disk.
 */
import type { Disk, DiskFile } from '../../base/ports.js';
import { logDirectory, preparedPath, removeIfThere, segmentName, withFile } from '../files.js';
import { SEGMENT } from '../format/layout.js';
import { encodeHeader, type SegmentHeader } from '../format/segment-header.js';

const FILL_BYTES = 1024 * 1024;
/** A smaller unused end is not worth a change of the file's length. */
const SLACK_BYTES = 64 * 1024;

export type NewHeader = Omit<SegmentHeader, 'headerBytes'>;

export interface OpenSegment {
  readonly name: string;
  readonly firstPosition: number;
  readonly file: DiskFile;
}

/** Writes real zeros, so that blocks are allocated and later writes change no metadata. */
async function fillWithZeros(file: DiskFile, from: number, to: number): Promise<void> {
  const zeros = Buffer.alloc(Math.min(FILL_BYTES, Math.max(to - from, 0)));
  for (let offset = from; offset < to; offset += zeros.length) {
    await file.write(zeros.subarray(0, Math.min(zeros.length, to - offset)), offset);
  }
  await file.sync();
}

/** Keeps one prepared file ahead of need. */
export class SegmentSupply {
  #ready: Promise<void> | null = null;
  /**
   * The last attempt failed. A full disk is reported once, not with every record that is appended
   * to what room is left.
   */
  #isShort = false;

  constructor(
    private readonly disk: Disk,
    private readonly root: string,
    private readonly bytes: number,
    private readonly onWarning: (message: string, cause?: unknown) => void,
  ) {}

  /** Begins to prepare the next file, if that has not begun. A failure is tried again at need. */
  prepare(): void {
    if (this.#ready) return;
    this.#ready = this.#fill();
    this.#ready.then(
      () => {
        this.#isShort = false;
      },
      (cause: unknown) => {
        this.#ready = null;
        if (this.#isShort) return;
        this.#isShort = true;
        this.onWarning('the next segment of the log could not be prepared', cause);
      },
    );
  }

  /** Null unless the last attempt failed; then another one is made, and it rejects when that fails. */
  roomToGrow(): Promise<void> | null {
    if (!this.#isShort) return null;
    this.prepare();
    return this.#ready;
  }

  async #fill(): Promise<void> {
    const path = preparedPath(this.root);
    await removeIfThere(this.disk, path);
    try {
      await withFile(this.disk, path, 'create', (file) => fillWithZeros(file, 0, this.bytes));
    } catch (thrown) {
      // Half a file of zeros would keep a full disk full, for everybody on it.
      await removeIfThere(this.disk, path).catch(() => false);
      throw thrown;
    }
  }

  /**
   * Turns the prepared file into the segment of this header. Durable when it resolves: header,
   * name and directory.
   */
  async begin(header: NewHeader): Promise<OpenSegment> {
    await this.#ready?.catch(() => undefined);
    this.#ready ??= this.#fill();
    await this.#ready;
    // Whole again, and reserved: it must not be filled again before it has its number.
    this.#isShort = false;
    this.#ready = null;
    const directory = logDirectory(this.root);
    const name = segmentName(header.firstPosition);
    const path = `${directory}/${name}`;
    await withFile(this.disk, preparedPath(this.root), 'write', (file) =>
      file.writeDurably(encodeHeader(header), 0),
    );
    await this.disk.rename(preparedPath(this.root), path);
    await this.disk.syncDirectory(directory);
    const file = await this.disk.open(path, 'write');
    return { name, firstPosition: header.firstPosition, file };
  }

  /** Takes the prepared file away: a log that is not open needs none. */
  async discard(): Promise<void> {
    await this.#ready?.catch(() => undefined);
    await removeIfThere(this.disk, preparedPath(this.root)).catch(() => false);
  }
}

/** Gives the unused end of a full segment back and closes it. Its records stay as they are. */
export async function seal(segment: OpenSegment, used: number): Promise<void> {
  try {
    if ((await segment.file.size()) - used > SLACK_BYTES) await segment.file.truncate(used);
  } finally {
    await segment.file.close();
  }
}

/**
 * Opens the newest segment for writing at `used`: brings it to its full size again, and writes
 * its last sync group once more. What was read may be in the page cache only: the writer may
 * have been killed before its sync, or the sync failed and the kernel forgot (fsync reports an
 * error once, then calls the pages clean). Nothing may be acknowledged on top of that.
 */
export async function reopen(
  disk: Disk,
  path: string,
  place: {
    readonly name: string;
    readonly firstPosition: number;
    readonly groupStart: number;
    readonly used: number;
    readonly bytes: number;
  },
): Promise<OpenSegment> {
  const file = await disk.open(path, 'write');
  try {
    const size = await file.size();
    if (size < place.bytes) await fillWithZeros(file, size, place.bytes);
    const start = Math.min(Math.max(place.groupStart, SEGMENT.headerBytes), place.used);
    const group = Buffer.alloc(place.used - start);
    if (group.length > 0) {
      await file.read(group, start);
      await file.writeDurably(group, start);
    }
    await file.sync();
    // Its name, too: the writer may have been killed between the rename and the sync after it.
    await disk.syncDirectory(path.slice(0, path.lastIndexOf('/')));
    return { name: place.name, firstPosition: place.firstPosition, file };
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
}
