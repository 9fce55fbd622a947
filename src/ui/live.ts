/**
 * Streams new events to an EventSource. Batches them, so that a busy daemon causes only a few
 * messages per second, and applies back-pressure.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Position } from '../base/units.js';
import type { Archive } from '../inspect/archive/archive.js';
import { eventRow } from './event-groups.js';
import { failureOf } from './failure.js';
import type { EventRow, LiveMessage } from './wire.js';

const batchMillis = 150;
/** Events per message, the newest ones; the page requests others when it needs them. */
const eventsMax = 100;

interface Batch {
  next: number;
  count: number;
  events: EventRow[];
}

/** Ends when the signal aborts, or with a `failure` message. */
export async function sendLive(
  archive: Archive,
  from: Position,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const pending: Batch = { next: from, count: 0, events: [] };
  let sending: Promise<void> | null = null;
  const send = async (): Promise<void> => {
    while (pending.count > 0 && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, batchMillis));
      const message: LiveMessage = { ...pending, events: [...pending.events] };
      pending.count = 0;
      pending.events = [];
      await write(response, `data: ${JSON.stringify(message)}\n\n`, signal);
    }
    sending = null;
  };
  // Opens the stream in the browser before the first event.
  await write(response, ': following\n\n', signal);
  try {
    for await (const batch of archive.follow(from, signal)) {
      for (const record of batch) {
        pending.next = record.position + 1;
        pending.count += 1;
        pending.events.push(eventRow(record));
      }
      pending.events.splice(0, pending.events.length - eventsMax);
      // With nothing to send, `send` would return before `sending` is set, which then stays set.
      if (pending.count > 0) sending ??= send();
    }
  } catch (thrown) {
    // Send pending events before the failure.
    await sending;
    if (signal.aborted) return;
    await write(response, `event: failure\ndata: ${JSON.stringify(failureOf(thrown))}\n\n`, signal);
  }
}

async function write(response: ServerResponse, text: string, signal: AbortSignal): Promise<void> {
  if (signal.aborted || response.write(text)) return;
  // Ends when the client disconnects, which aborts the signal.
  await once(response, 'drain', { signal }).catch(() => undefined);
}
