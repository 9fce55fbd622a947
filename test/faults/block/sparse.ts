/**
 * The contents of a disk in memory: pages of 4 KiB, zeros where nothing was written. A layer can
 * lie on top of another, so that what is tried on one image costs only what it changes.
 */
const PAGE_BYTES = 4096;
/** What a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;

export class SparseBytes {
  readonly #pages = new Map<number, Buffer>();
  readonly #below: SparseBytes | null;

  constructor(below: SparseBytes | null = null) {
    this.#below = below;
  }

  write(bytes: Uint8Array, offset: number): void {
    for (let done = 0; done < bytes.length;) {
      const at = offset + done;
      const within = at % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - within, bytes.length - done);
      const page = this.#own(Math.floor(at / PAGE_BYTES), count === PAGE_BYTES);
      page.set(bytes.subarray(done, done + count), within);
      done += count;
    }
  }

  zero(offset: number, length: number): void {
    const zeros = Buffer.alloc(PAGE_BYTES);
    for (let done = 0; done < length;) {
      const at = offset + done;
      const count = Math.min(PAGE_BYTES - (at % PAGE_BYTES), length - done);
      this.write(zeros.subarray(0, count), at);
      done += count;
    }
  }

  read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let done = 0; done < length;) {
      const at = offset + done;
      const within = at % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - within, length - done);
      this.#find(Math.floor(at / PAGE_BYTES))?.copy(bytes, done, within, within + count);
      done += count;
    }
    return bytes;
  }

  #find(number: number): Buffer | undefined {
    if (this.#below === null) return this.#pages.get(number);
    return this.#pages.get(number) ?? this.#below.#find(number);
  }

  /** The page in this very layer; `isWhole` says that nothing of the old one will be left. */
  #own(number: number, isWhole: boolean): Buffer {
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = Buffer.alloc(PAGE_BYTES);
      if (!isWhole) this.#find(number)?.copy(page);
      this.#pages.set(number, page);
    }
    return page;
  }
}
