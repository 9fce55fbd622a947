/** Logs of any shape on a disk in memory: several streams, long and hostile bodies, many segments. */
import fc from 'fast-check';
import { streamVersion } from '../../src/base/units.js';
import type { EventBody } from '../../src/log/types.js';
import { openTestLog } from '../log/fixtures.js';
import { hostileText } from './arbitraries.js';
import { FaultyDisk } from './faulty-disk.js';

interface RandomEvent {
  readonly stream: string;
  readonly data: EventBody;
  readonly closesStream: boolean;
}

export interface RandomAppend {
  readonly events: readonly RandomEvent[];
  readonly sync: boolean;
}

const data: fc.Arbitrary<EventBody> = fc
  .array(fc.tuple(hostileText, fc.oneof(hostileText, fc.double(), fc.jsonValue())), {
    maxLength: 3,
  })
  .map((entries) => Object.fromEntries(entries));

const event: fc.Arbitrary<RandomEvent> = fc.record({
  stream: fc.constantFrom('daemon', 'snapshot-1', 'snapshot-2', 'a"b\\c,"data":{'),
  data,
  closesStream: fc.boolean(),
});

export const randomAppends: fc.Arbitrary<readonly RandomAppend[]> = fc.array(
  fc.record({
    events: fc.array(event, { minLength: 1, maxLength: 3 }),
    sync: fc.boolean(),
  }),
  { maxLength: 12 },
);

/** Writes them with segments as small as they go, and answers the disk. */
export async function diskWith(appends: readonly RandomAppend[]): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const { log } = await openTestLog(disk, { segmentBytes: 4096 });
  const versions = new Map<string, number>();
  for (const { events, sync } of appends) {
    const drafts = events.map(({ stream, closesStream, ...rest }) => {
      const version = versions.get(stream) ?? 0;
      versions.set(stream, closesStream ? 0 : version + 1);
      const expectedVersion = streamVersion(version);
      return { ...rest, stream, expectedVersion, closesStream, type: 'Noted', schemaVersion: 1 };
    });
    const { durable } = log.append(drafts, { sync });
    if (sync) await durable;
  }
  await log.close();
  return disk;
}
