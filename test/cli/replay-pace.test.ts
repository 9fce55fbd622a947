/** Goal: frames are shown for the recorded delay, which is displayed if it is shortened. */
import { expect, it } from 'vitest';
import { position, streamVersion, unixNanos } from '../../src/base/units.js';
import { frameLines, type Frame } from '../../src/cli/past/replay-frame.js';
import { STEADY_MILLIS, WAIT_MAX_MILLIS, waitFor } from '../../src/cli/past/replay-pace.js';
import type { Step } from '../../src/inspect/snapshot/replay-steps.js';

const second = 1_000_000_000n;
const at = (seconds: bigint) => unixNanos(seconds * second);

it('waits for the recorded delay, divided by the speed', () => {
  const gap = { pace: 'real', from: at(5n), to: at(7n) } as const;
  expect(waitFor({ ...gap, speed: 1 })).toEqual({ millis: 2000, shortened: null });
  expect(waitFor({ ...gap, speed: 10 })).toEqual({ millis: 200, shortened: null });
});

it('shortens a long delay, and returns the recorded one', () => {
  const gap = { pace: 'real', from: at(0n), to: at(3600n) } as const;
  expect(waitFor({ ...gap, speed: 1 })).toEqual({
    millis: WAIT_MAX_MILLIS,
    shortened: 3600n * second,
  });
  expect(waitFor({ ...gap, speed: 3600 })).toEqual({ millis: 1000, shortened: null });
});

it('does not wait if the clock was set back', () => {
  const back = { pace: 'real', speed: 1, from: at(9n), to: at(2n) } as const;
  expect(waitFor(back)).toEqual({ millis: 0, shortened: null });
});

it('uses a fixed delay at the steady pace, and after a jump', () => {
  const hour = { from: at(0n), to: at(3600n) };
  const steady = waitFor({ pace: 'steady', speed: 2, ...hour });
  expect(steady).toEqual({ millis: STEADY_MILLIS / 2, shortened: null });
  const slow = waitFor({ pace: 'steady', speed: 0.01, ...hour });
  expect(slow).toEqual({ millis: STEADY_MILLIS * 100, shortened: null });
  const jumped = waitFor({ pace: 'real', speed: 2, from: null, to: hour.to });
  expect(jumped).toEqual({ millis: STEADY_MILLIS, shortened: null });
});

function stepAt(sincePrevious: bigint | null): Step {
  return {
    record: {
      ...{ position: position(4), time: at(7200n), stream: 'daemon', type: 'DaemonStopped' },
      ...{ streamVersion: streamVersion(4), schemaVersion: 1, data: {}, closesStream: false },
    },
    ...{ id: null, before: null, after: null, sincePrevious },
  };
}

function firstLine(more: Partial<Frame>): string {
  const frame: Frame = {
    ...{ position: 5, next: 9, step: null, states: [], pace: 'real', speed: 10, wait: null },
    ...more,
  };
  return frameLines(frame, 20)[0]?.text ?? '';
}

it('shows the recorded delays before and after the event in the first line', () => {
  const wait = { millis: 3000, shortened: 7200n * second };
  const before = firstLine({ step: stepAt(2n * second), wait });
  expect(before).toMatch(/^position 5 of 9 {2}1970\S+Z \(\+2 s\) {2}playing 10x: /);
  expect(before).toMatch(/: next after 2 h, shortened to 3 s$/);
  expect(firstLine({ step: stepAt(-3n * second) })).toMatch(/Z \(set back 3 s\)$/);
  expect(firstLine({ wait: { millis: 5, shortened: null }, pace: 'steady' })).toBe(
    'position 5 of 9  playing 10x steady',
  );
});
