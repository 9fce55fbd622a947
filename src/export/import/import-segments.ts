/**
 * Writes records that are bytes already into new segments. A segment ends where a sync group
 * ends, as the daemon's own do; the records, and so the chain, are as they were.
 */
import type { Clock, Disk, DiskFile } from '../../base/ports.js';
import { logDirectory, segmentName } from '../../log/files.js';
import { CHAIN_BYTES, SEGMENT, SEGMENT_BYTES_DEFAULT } from '../../log/format/layout.js';
import { encodeHeader } from '../../log/format/segment-header.js';

const WRITE_BYTES = 1024 * 1024;

export interface SegmentsQuery {
  readonly root: string;
  readonly uuid: string;
  readonly epoch: number;
  /** The release that writes: this one. */
  readonly writtenBy: string;
  /** 16 MiB by default. */
  readonly segmentBytes?: number;
}

interface OpenFile {
  readonly file: DiskFile;
  readonly firstPosition: number;
  written: number;
}

export class ImportedSegments {
  readonly #disk: Disk;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #query: SegmentsQuery;
  readonly #segmentBytes: number;
  #open: OpenFile | null = null;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(disk: Disk, clock: Pick<Clock, 'now'>, query: SegmentsQuery) {
    this.#disk = disk;
    this.#clock = clock;
    this.#query = query;
    this.#segmentBytes = query.segmentBytes ?? SEGMENT_BYTES_DEFAULT;
  }

  /** Takes the next record; `chain` is the hash of the one before it. */
  async append(
    record: { readonly position: number; readonly groupOffset: number; readonly bytes: Buffer },
    chain: Buffer,
  ): Promise<void> {
    const { position, groupOffset, bytes } = record;
    const used = (this.#open?.written ?? 0) + this.#pendingBytes;
    const isFull = used + bytes.length > this.#segmentBytes && groupOffset === 0;
    if (this.#open === null || isFull) await this.#begin(position, chain);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= WRITE_BYTES) await this.#write();
  }

  /** Everything is durable but the names: the directory is synced by whoever made it. */
  async end(): Promise<void> {
    // A root with snapshot directories and no segment would be refused.
    if (this.#open === null) await this.#begin(0, Buffer.alloc(CHAIN_BYTES));
    await this.#seal();
  }

  async close(): Promise<void> {
    await this.#open?.file.close();
    this.#open = null;
  }

  async #begin(firstPosition: number, chain: Buffer): Promise<void> {
    const { root, uuid, epoch, writtenBy } = this.#query;
    const previousFirstPosition = this.#open?.firstPosition ?? null;
    await this.#seal();
    const path = `${logDirectory(root)}/${segmentName(firstPosition)}`;
    const file = await this.#disk.open(path, 'create');
    this.#open = { file, firstPosition, written: 0 };
    const created = this.#clock.now();
    const header = { uuid, epoch, writtenBy, firstPosition, previousFirstPosition, created, chain };
    this.#pending = [encodeHeader(header)];
    this.#pendingBytes = SEGMENT.headerBytes;
  }

  async #seal(): Promise<void> {
    if (this.#open === null) return;
    await this.#write();
    await this.#open.file.sync();
    await this.close();
  }

  async #write(): Promise<void> {
    if (this.#open === null || this.#pendingBytes === 0) return;
    await this.#open.file.write(Buffer.concat(this.#pending), this.#open.written);
    this.#open.written += this.#pendingBytes;
    this.#pending = [];
    this.#pendingBytes = 0;
  }
}
