/** The progress of a long read, as one line on a terminal. Silent if stderr is not a terminal. */
import type { Disk, DiskFile } from '../../base/ports.js';
import { humanSize } from './print.js';
import { canRedraw, statusLine } from './status-line.js';

export interface ReadingProgress {
  /** A disk that counts the bytes read through it. */
  readonly disk: Disk;
  /** Counts bytes that were not read through `disk`. */
  count(bytes: number): void;
  /** Starts a new step, with its own byte count. */
  step(name: string): void;
  /** Removes the line until the next read. */
  erase(): void;
}

export function readingProgress(disk: Disk, stream: NodeJS.WriteStream): ReadingProgress {
  if (!canRedraw(stream)) {
    return { disk, count: () => undefined, step: () => undefined, erase: () => undefined };
  }
  let step = '';
  let bytes = 0;
  const line = statusLine(stream);
  const count = (filled: number): void => {
    bytes += filled;
    line.draw(() => `${step}: ${humanSize(bytes)} read`);
  };
  return {
    disk: {
      ...disk,
      open: async (path, mode) => counting(await disk.open(path, mode), count),
    },
    count,
    step: (name) => {
      step = name;
      bytes = 0;
    },
    erase: () => {
      line.erase();
    },
  };
}

function counting(file: DiskFile, count: (bytes: number) => void): DiskFile {
  return {
    path: file.path,
    size: () => file.size(),
    read: async (into, offset) => {
      const filled = await file.read(into, offset);
      count(filled);
      return filled;
    },
    write: (bytes, offset) => file.write(bytes, offset),
    writeDurably: (bytes, offset) => file.writeDurably(bytes, offset),
    sync: () => file.sync(),
    truncate: (size) => file.truncate(size),
    close: () => file.close(),
  };
}
