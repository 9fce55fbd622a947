/** One flush for many: whoever asks gets one that began after the question. */
import { describe, expect, it } from 'vitest';
import { SingleFlight } from '../../src/base/single-flight.js';
import { settle } from '../support/virtual-clock.js';

class Flushes {
  begun = 0;
  atOnce = 0;
  atOnceMax = 0;
  readonly #ends: ((fault: Error | null) => void)[] = [];

  readonly flush = (): Promise<void> => {
    this.begun += 1;
    this.atOnce += 1;
    this.atOnceMax = Math.max(this.atOnceMax, this.atOnce);
    return new Promise((resolve, reject) => {
      this.#ends.push((fault) => {
        this.atOnce -= 1;
        if (fault === null) resolve();
        else reject(fault);
      });
    });
  };

  async end(fault: Error | null = null): Promise<void> {
    this.#ends.shift()?.(fault);
    await settle();
  }
}

describe('a shared flush', () => {
  it('begins at once when none is under way', async () => {
    const flushes = new Flushes();
    const asked = new SingleFlight(flushes.flush).request();
    expect(flushes.begun).toBe(1);
    await flushes.end();
    await expect(asked).resolves.toBeUndefined();
  });

  it('serves all who asked while another was under way with one more', async () => {
    const flushes = new Flushes();
    const shared = new SingleFlight(flushes.flush);
    void shared.request();
    const late = Array.from({ length: 50 }, () => shared.request());
    let done = 0;
    for (const asked of late) void asked.then(() => (done += 1));
    await flushes.end();
    // The first began before they asked: it does not count for them.
    expect([flushes.begun, done]).toEqual([2, 0]);
    await flushes.end();
    expect([flushes.begun, done]).toEqual([2, 50]);
    expect(flushes.atOnceMax).toBe(1);
  });

  it('tells a fault to those it served, and to nobody after', async () => {
    const flushes = new Flushes();
    const shared = new SingleFlight(flushes.flush);
    const first = shared.request();
    const second = shared.request();
    const seen = expect(first).rejects.toThrow('EIO');
    await flushes.end(new Error('EIO'));
    await seen;
    await flushes.end();
    await expect(second).resolves.toBeUndefined();
    const third = shared.request();
    await flushes.end();
    await expect(third).resolves.toBeUndefined();
    expect(flushes.begun).toBe(3);
  });
});
