/** One line on a terminal that is written over and over, and not more often than it can be read. */

import { terminalTraits } from '../../base/terminal.js';

const redrawMillis = 100;

export interface StatusLine {
  /** Draws what the function says, when it is time to; most calls cost a look at the clock. */
  draw(text: () => string): void;
  /** Removes the line; it comes back with the next draw. */
  erase(): void;
}

type StatusStream = Pick<NodeJS.WriteStream, 'write' | 'isTTY'>;

/** Whether a line can be written over: on a terminal that is not a dumb one. */
export const canRedraw = ({ isTTY }: StatusStream, environment = process.env): boolean =>
  terminalTraits(isTTY, environment).canRedraw;

/** Silent where no line can be written over. `now` in milliseconds of a steady clock. */
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
