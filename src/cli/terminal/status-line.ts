/** One line on a terminal that is redrawn in place, at most ten times a second. */

import { terminalTraits } from '../../base/terminal.js';

const redrawMillis = 100;

export interface StatusLine {
  /** Redraws if the interval has passed; otherwise the call only reads the clock. */
  draw(text: () => string): void;
  /** Removes the line until the next draw. */
  erase(): void;
}

type StatusStream = Pick<NodeJS.WriteStream, 'write' | 'isTTY'>;

/** True on a terminal that is not dumb. */
export const canRedraw = ({ isTTY }: StatusStream, environment = process.env): boolean =>
  terminalTraits(isTTY, environment).canRedraw;

/** Silent unless `canRedraw`. `now` returns milliseconds of a monotonic clock. */
export function statusLine(
  stream: StatusStream,
  now: () => number = () => performance.now(),
  environment = process.env,
): StatusLine {
  let drawnAt = -Infinity;
  const isShown = canRedraw(stream, environment);
  return {
    draw: (text) => {
      const at = now();
      if (!isShown || at - drawnAt < redrawMillis) return;
      drawnAt = at;
      stream.write(`\r\u001b[K${text()}`);
    },
    erase: () => {
      if (drawnAt > -Infinity) stream.write('\r\u001b[K');
    },
  };
}
