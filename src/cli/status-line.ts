/** One line on a terminal that is written over and over, and not more often than it can be read. */

const redrawMillis = 100;

export interface StatusLine {
  /** Draws what the function says, when it is time to; most calls cost a look at the clock. */
  draw(text: () => string): void;
  /** Removes the line; it comes back with the next draw. */
  erase(): void;
}

/** Silent where the stream is no terminal. `now` in milliseconds of a steady clock. */
export function statusLine(
  stream: Pick<NodeJS.WriteStream, 'write' | 'isTTY'>,
  now: () => number = () => performance.now(),
): StatusLine {
  let drawnAt = -Infinity;
  return {
    draw: (text) => {
      const at = now();
      if (!stream.isTTY || at - drawnAt < redrawMillis) return;
      drawnAt = at;
      stream.write(`\r\u001b[K${text()}`);
    },
    erase: () => {
      if (drawnAt > -Infinity) stream.write('\r\u001b[K');
    },
  };
}
