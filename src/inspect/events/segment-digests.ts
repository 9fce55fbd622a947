/** The event type that records the digests of sealed segments. */
import type { SumEvents } from '../../log/verify/verify-digests.js';
import { daemonEventSchemas, type DaemonEventType } from '../../machines/events/daemon-events.js';

const type: DaemonEventType = 'SegmentChecked';

export const segmentSums: SumEvents = {
  type,
  sumOf: (body) => daemonEventSchemas[type]().safeParse(body).data ?? null,
};
