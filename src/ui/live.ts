/**
 * New events as they come, for an EventSource: gathered for a moment, so that a busy daemon makes
 * a few messages a second whatever it writes, and only as fast as the reader takes them.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Position } from '../base/units.js';
import type { Archive } from '../inspect/archive/archive.js';
import { eventRow } from './event-groups.js';
import { failureOf } from './failure.js';
import type { EventRow, LiveMessage } from './wire.js';

const gatherMillis = 150;
/** The newest that a message lists; the page asks for the rest where it needs them. */
const eventsMax = 100;

interface Gathered {
  next: number;
  count: number;
  events: EventRow[];
}

/** Ends when the signal comes, or with a message of the kind `failure`. */
export async function sendLive(
  archive: Archive,
  from: Position,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const gathered: Gathered = { next: from, count: 0, events: [] };
  let sending: Promise<void> | null = null;
  const send = async (): Promise<void> => {
    while (gathered.count > 0 && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, gatherMillis));
      const message: LiveMessage = { ...gathered, events: [...gathered.events] };
      gathered.count = 0;
      gathered.events = [];
      await write(response, `data: ${JSON.stringify(message)}\n\n`, signal);
    }
    sending = null;
  };
  // Tells the browser that the stream stands, before there is anything to tell.
  await write(response, ': following\n\n', signal);
  try {
    for await (const batch of archive.follow(from, signal)) {
      for (const record of batch) {
        gathered.next = record.position + 1;
        gathered.count += 1;
        gathered.events.push(eventRow(record));
      }
      gathered.events.splice(0, gathered.events.length - eventsMax);
      // With nothing to send it would end before it is kept, and be taken for one at work.
      if (gathered.count > 0) sending ??= send();
    }
  } catch (thrown) {
    // What came just before it is told first.
    await sending;
    if (signal.aborted) return;
    await write(response, `event: failure\ndata: ${JSON.stringify(failureOf(thrown))}\n\n`, signal);
  }
}

async function write(response: ServerResponse, text: string, signal: AbortSignal): Promise<void> {
  if (signal.aborted || response.write(text)) return;
  // A client that leaves aborts the signal; nothing is left to wait for then.
  await once(response, 'drain', { signal }).catch(() => undefined);
}
