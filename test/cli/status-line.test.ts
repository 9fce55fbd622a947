/** Goal: progress is redrawn at a limited rate on a terminal, and never elsewhere. */
import { expect, it } from 'vitest';
import { statusLine } from '../../src/cli/terminal/status-line.js';

function drawnOn(isTTY: boolean): { line: ReturnType<typeof statusLine>; texts: string[] } & {
  clock: { now: number };
} {
  const texts: string[] = [];
  const clock = { now: 0 };
  const stream = {
    isTTY,
    write: (text: string) => texts.push(text) > 0,
  } as unknown as NodeJS.WriteStream;
  return { line: statusLine(stream, () => clock.now), texts, clock };
}

it('is drawn at once, and then at a limited rate', () => {
  const { line, texts, clock } = drawnOn(true);
  let made = 0;
  for (let step = 1; step <= 1000; step += 1) {
    clock.now += 1;
    line.draw(() => ((made += 1), `${step} of 1000`));
  }
  line.erase();
  expect(made).toBe(10);
  expect(texts.slice(0, 2)).toEqual(['\r\u001b[K1 of 1000', '\r\u001b[K101 of 1000']);
  expect(texts.slice(10)).toEqual(['\r\u001b[K']);
});

it('is silent without a terminal, and does not erase a line that was not drawn', () => {
  const { line, texts } = drawnOn(false);
  line.draw(() => 'text');
  line.erase();
  drawnOn(true).line.erase();
  expect(texts).toEqual([]);
});
