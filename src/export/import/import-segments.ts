/**
 * Writes encoded records to new segments. A segment ends at the end of a sync group, like those of
 * the daemon. The records, and so the chain, are unchanged.
 */
import type { Clock, Disk, DiskFile } from '../../base/ports.js';
import { logDirectory, segmentName } from '../../log/files.js';
import { CHAIN_BYTES, SEGMENT, SEGMENT_BYTES_DEFAULT } from '../../log/format/layout.js';
import { encodeHeader } from '../../log/format/segment-header.js';

const WRITE_BYTES = 1024 * 1024;

export interface ImportedSegmentsOptions {
  readonly root: string;
  readonly uuid: string;
  readonly epoch: number;
  /** The running release. */
  readonly writtenBy: string;
  /** Default: 16 MiB. */
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
  readonly #options: ImportedSegmentsOptions;
  readonly #segmentBytes: number;
  #open: OpenFile | null = null;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(disk: Disk, clock: Pick<Clock, 'now'>, options: ImportedSegmentsOptions) {
    this.#disk = disk;
    this.#clock = clock;
    this.#options = options;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES_DEFAULT;
  }

  /** Appends the next record; `chain` is the hash of the record before it. */
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

  /** Makes the content durable; the caller syncs the directory. */
  async end(): Promise<void> {
    // A root with snapshot directories needs at least one segment to start.
    if (this.#open === null) await this.#begin(0, Buffer.alloc(CHAIN_BYTES));
    await this.#seal();
  }

  async close(): Promise<void> {
    await this.#open?.file.close();
    this.#open = null;
  }

  async #begin(firstPosition: number, chain: Buffer): Promise<void> {
    const { root, uuid, epoch, writtenBy } = this.#options;
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
