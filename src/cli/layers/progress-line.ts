/** The progress of an import as one line on a terminal. Silent if stderr is not a terminal. */
import type { WriteStream } from 'node:tty';

import type { LayerSource } from '../../filesystems/layer-store/import/import-layer.js';
import { shortId } from './layer-table.js';
import { statusLine } from '../terminal/status-line.js';

export interface ProgressLine {
  advance(layer: LayerSource, bytes: number): void;
  /** Counts a completed layer. */
  done(): void;
  /** Prints a message on its own line, also without a terminal. */
  print(message: string): void;
  close(): void;
}

export function progressLine(stream: WriteStream, layers: number): ProgressLine {
  const line = statusLine(stream);
  let finished = 0;
  let read = 0;
  return {
    advance: (layer, bytes) => {
      read += bytes;
      line.draw(() => {
        const total = layer.blob === null ? '' : ` of ${megabytes(layer.blob.size)}`;
        return `layer ${finished + 1} of ${layers}, ${shortId(layer.chainId)}: ${megabytes(read)}${total} MB`;
      });
    },
    done: () => {
      finished += 1;
      read = 0;
      line.erase();
    },
    print: (message) => {
      line.erase();
      stream.write(`${message}\n`);
    },
    close: () => {
      line.erase();
    },
  };
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
