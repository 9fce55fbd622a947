/** Which layers a log tells of, and since when they cannot be used; beside a plain model. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { position, snapshotId, streamVersion, unixNanos } from '../../src/base/units.js';
import { unavailableSince } from '../../src/inspect/snapshot/remote-layers.js';
import type { LogRecord } from '../../src/log/types.js';

const recordOf = (at: number, stream: string, type: string): LogRecord => ({
  position: position(at),
  time: unixNanos(BigInt(at) * 10n),
  stream,
  streamVersion: streamVersion(0),
  type,
  schemaVersion: 1,
  data: {},
  closesStream: false,
});

async function* batchesOf(records: readonly LogRecord[], size: number) {
  for (let from = 0; from < records.length; from += size) {
    yield await Promise.resolve(records.slice(from, from + size));
  }
}

it('counts from the first loss that nothing has mended since, for each layer by itself', async () => {
  const step = fc.record({
    id: fc.integer({ min: 1, max: 3 }),
    type: fc.constantFrom('LayerUnavailable', 'LayerAvailable', 'LabelsUpdated'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step), fc.integer({ min: 1, max: 4 }), async (steps, size) => {
      const records = steps.map(({ id, type }, at) => recordOf(at, `snapshot-${id}`, type));
      const model = new Map<number, bigint>();
      for (const [at, { id, type }] of steps.entries()) {
        if (type === 'LayerAvailable') model.delete(id);
        if (type === 'LayerUnavailable' && !model.has(id)) model.set(id, BigInt(at) * 10n);
      }
      const lost = new Set([...model.keys()].map(snapshotId));
      const since = await unavailableSince(lost, batchesOf(records.toReversed(), size));
      expect(new Map<number, bigint>(since)).toEqual(model);
    }),
  );
});

it('reads no further back than it must', async () => {
  let read = 0;
  async function* pluralize() {
    for (const type of ['LayerUnavailable', 'LayerAvailable', 'LabelsUpdated']) {
      read += 1;
      yield await Promise.resolve([recordOf(9 - read, 'snapshot-1', type)]);
    }
  }
  await unavailableSince(new Set([snapshotId(1)]), pluralize());
  expect(read).toBe(2);
  await unavailableSince(new Set(), pluralize());
  expect(read).toBe(2);
});
