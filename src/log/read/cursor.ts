/**
 * Reads a log forwards across its segments, without a lock, also while a writer runs. At the end of
 * the log `next` may be called again: it continues where it stopped and returns each record once. A
 * torn or unfinished end of the newest segment is the end.
 */
import { errnoOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { LogTooNew, type LogDamaged } from '../errors.js';
import { listLog, logDirectory, NO_FILE, type NamedAt } from '../files.js';
import { damageAt, requireGoodEnd } from './log-end.js';
import { SegmentScan, startOf, type ScanOptions } from './scan.js';
import { notAFile, readHeader } from '../format/segment-header.js';
import type { ListedSegment } from './segment-list.js';
import type { LogRecord } from '../types.js';

/** Retiring takes the oldest segments away; after so many it is not a race any more. */
const OPEN_TRIES = 3;

interface Current {
  readonly segment: ListedSegment;
  readonly file: DiskFile;
  readonly scan: SegmentScan;
}

export class LogCursor {
  readonly #disk: Disk;
  readonly #root: string;
  readonly #query: ScanOptions;
  #current: Current | null = null;
  /** The next segment, once it exists: then the current one is sealed. */
  #sealedBy: Current | null = null;

  /** `from` below the first record that is kept begins with that one. */
  constructor(disk: Disk, root: string, query: { from: number; stream?: string | undefined }) {
    this.#disk = disk;
    this.#root = root;
    this.#query =
      query.stream === undefined
        ? { from: query.from }
        : { from: query.from, stream: query.stream };
  }

  /** All earlier records were returned or not requested; null before the first read. */
  get position(): number | null {
    return this.#current?.scan.end.position ?? null;
  }

  /** File name of the segment that is read now; null before the first read. */
  get segment(): string | null {
    return this.#current?.segment.name ?? null;
  }

  /**
   * The next requested records, perhaps none yet; null at the present end of the log.
   *
   * Fails  LogDamaged, LogTooNew; what was handed out before is good
   */
  async next(): Promise<readonly LogRecord[] | null> {
    this.#current ??= await this.#begin();
    while (this.#current) {
      const { scan, segment } = this.#current;
      const batch = await scan.next();
      if (batch) return batch;
      if (this.#sealedBy) {
        requireGoodEnd(segment, this.#sealedBy.segment, scan);
        await this.#current.file.close();
        this.#current = this.#sealedBy;
        this.#sealedBy = null;
        continue;
      }
      this.#sealedBy = await this.#following(segment);
      scan.rewind();
      // Before the next segment was there, more may have been written to this one: look again.
      if (this.#sealedBy) continue;
      requireGoodEnd(segment, null, scan);
      return null;
    }
    return null;
  }

  async close(): Promise<void> {
    const open = [this.#current, this.#sealedBy];
    this.#current = this.#sealedBy = null;
    for (const one of open) await one?.file.close();
  }

  /** The segment with the first requested position; null while the log has none. */
  async #begin(): Promise<Current | null> {
    return this.#openOne((segments) => {
      const at = segments.findLastIndex(({ position: first }) => first <= (this.#query.from ?? 0));
      return segments[Math.max(at, 0)];
    });
  }

  #following(segment: ListedSegment): Promise<Current | null> {
    const { firstPosition } = segment.header;
    return this.#openOne((segments) => segments.find((one) => one.position > firstPosition));
  }

  async #openOne(
    choose: (segments: readonly NamedAt[]) => NamedAt | undefined,
  ): Promise<Current | null> {
    for (let left = OPEN_TRIES - 1; ; left--) {
      const { segments } = await listLog(this.#disk, this.#root);
      const chosen = choose(segments);
      if (!chosen) return null;
      try {
        return await this.#open(chosen, chosen === segments.at(-1));
      } catch (thrown) {
        if (errnoOf(thrown) !== 'ENOENT' || left === 0) throw thrown;
      }
    }
  }

  /** Null for what only has the name of a segment, such as a socket. */
  async #openFile(path: string): Promise<DiskFile | null> {
    try {
      return await this.#disk.open(path, 'read');
    } catch (thrown) {
      if (NO_FILE.has(errnoOf(thrown) ?? '')) return null;
      throw thrown;
    }
  }

  async #open(named: NamedAt, isNewest: boolean): Promise<Current | null> {
    const path = `${logDirectory(this.#root)}/${named.name}`;
    const file = await this.#openFile(path);
    if (file === null) {
      if (!isNewest) throw damage(named, notAFile.why);
      return null;
    }
    try {
      const reading = await readHeader(file);
      if (reading.kind === 'too-new') throw new LogTooNew(`the segment ${path}`, reading.writtenBy);
      if (reading.kind === 'damaged' || reading.header.firstPosition !== named.position) {
        const why = reading.kind === 'damaged' ? reading.why : 'its header and its name differ';
        if (!isNewest) throw damage(named, why);
        await file.close();
        return null;
      }
      const segment = {
        name: named.name,
        namedPosition: named.position,
        path,
        header: reading.header,
      };
      return { segment, file, scan: new SegmentScan(file, startOf(segment), this.#query) };
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }
}

const damage = (named: NamedAt, found: string): LogDamaged =>
  damageAt(named, { offset: 0, position: named.position }, found);
