/**
 * A disk that remembers what it was asked to do, in a process of its own: `disk-process.ts
 * MOUNTPOINT BYTES`. It shows the file `disk` there and says `mounted` on stdout. What is written
 * before the command `record` is how the disk begins; from then on each write and flush counts.
 * The command `cut` puts the disk into a state that a power cut may have left.
 *
 * A process, because the kernel asks it while the test's own threads wait for the file system on
 * top. It dies with its parent, and then all that is mounted from it answers EIO.
 */
import { libraryCall } from '../../../src/host/libc.js';
import { serveFuse, type Served } from './fuse.js';
import { Recording, type Cut } from './recording.js';
import { SparseBytes } from './sparse.js';

export type DiskCommand =
  { readonly command: 'record' } | { readonly command: 'cut'; readonly cut: Cut };

/** `places` is a list of doubles: how many requests were recorded, then where the flushes stand. */
export const PLACE_BYTES = 8;

const prctl = libraryCall(
  'int prctl(int option, unsigned long signal, unsigned long a, unsigned long b, unsigned long c)',
);
const parentDeathSignal = 1; // PR_SET_PDEATHSIG
const sigkill = 9;

class RecordingDisk implements Served {
  #content = new SparseBytes();
  #recording: Recording | null = null;
  /** After a cut nothing is recorded: what is done to the image is the business of that trial. */
  #isReplaying = false;

  constructor(readonly diskBytes: number) {}

  read(offset: number, length: number): Buffer {
    return this.#content.read(offset, length);
  }

  write(bytes: Buffer, offset: number): void {
    this.#content.write(bytes, offset);
    if (!this.#isReplaying) this.#recording?.add({ kind: 'write', offset, bytes });
  }

  zero(offset: number, length: number): void {
    this.#content.zero(offset, length);
    if (!this.#isReplaying) this.#recording?.add({ kind: 'zero', offset, length });
  }

  flush(): void {
    if (!this.#isReplaying) this.#recording?.add({ kind: 'flush' });
  }

  places(offset: number, size: number): Buffer {
    const count = this.#recording?.count ?? 0;
    // The first is asked for with each acknowledgement; the others once.
    const flushes = offset + size > PLACE_BYTES ? (this.#recording?.flushes() ?? []) : [];
    const places = Float64Array.of(count, ...flushes);
    return Buffer.from(places.buffer).subarray(offset, offset + size);
  }

  command(text: string): void {
    const command = JSON.parse(text) as DiskCommand;
    if (command.command === 'record') {
      const start = this.#content;
      this.#recording = new Recording(start);
      this.#content = new SparseBytes(start);
      return;
    }
    if (this.#recording === null) throw new Error('nothing was recorded');
    this.#isReplaying = true;
    this.#content = this.#recording.cut(command.cut);
  }
}

if (process.argv[1] === import.meta.filename) {
  const [mountpoint = '', bytes = ''] = process.argv.slice(2);
  prctl(parentDeathSignal, sigkill, 0, 0, 0);
  serveFuse(mountpoint, new RecordingDisk(Number(bytes)), () => process.stdout.write('mounted\n'));
}
