/** One line on a terminal that says how far an import is. Silent where stderr is no terminal. */
import type { WriteStream } from 'node:tty';

import type { LayerSource } from '../filesystems/layer-store/import-layer.js';
import { shortId } from './layer-table.js';

export interface ProgressLine {
  advance(layer: LayerSource, bytes: number): void;
  /** A layer is done. */
  done(): void;
  /** Writes a line of its own, terminal or not. */
  say(message: string): void;
  close(): void;
}

const redrawMillis = 100;

export function progressLine(stream: WriteStream, layers: number): ProgressLine {
  const isTerminal = stream.isTTY;
  let finished = 0;
  let read = 0;
  let drawnAt = 0;
  const erase = (): void => {
    if (isTerminal && drawnAt > 0) stream.write('\r\u001b[K');
  };
  return {
    advance: (layer, bytes) => {
      read += bytes;
      const now = performance.now();
      if (!isTerminal || now - drawnAt < redrawMillis) return;
      drawnAt = now;
      const total = layer.blob === null ? '' : ` of ${megabytes(layer.blob.size)}`;
      const line = `layer ${finished + 1} of ${layers}, ${shortId(layer.chainId)}: ${megabytes(read)}${total} MB`;
      stream.write(`\r\u001b[K${line}`);
    },
    done: () => {
      finished += 1;
      read = 0;
      erase();
    },
    say: (message) => {
      erase();
      stream.write(`${message}\n`);
    },
    close: erase,
  };
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
