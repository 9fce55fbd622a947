/** Waiting with a way out: whichever end is first counts, and the other one harms nobody. */
import { once } from 'node:events';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { orAborted, orLate } from '../../src/base/abort.js';

const failing = async (): Promise<never> => {
  await turn();
  throw new Error('late');
};

it.each(['before it is asked', 'while it waits'])(
  'leaves no rejection to the process when the signal came %s',
  async (when) => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    try {
      const controller = new AbortController();
      if (when === 'before it is asked') controller.abort(new Error('over'));
      const waiting = orAborted(failing(), controller.signal);
      if (!controller.signal.aborted) controller.abort(new Error('over'));
      await expect(waiting).rejects.toThrow('over');
      await sleep(20);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  },
);

it('ends by its own limit with the error that was made for it, and tells the work', async () => {
  const { signal } = new AbortController();
  const told: Promise<unknown>[] = [];
  const work = (either: AbortSignal): Promise<never> => {
    told.push(once(either, 'abort'));
    return new Promise(() => undefined);
  };
  const late = (): Error => new Error('too late');
  await expect(orLate(work, { signal, millis: 1, late })).rejects.toThrow('too late');
  await Promise.all(told);
});
