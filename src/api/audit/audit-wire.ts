/** Converts between records of the log and the messages of stratalog.audit.v1. */
import { position, streamVersion } from '../../base/units.js';
import type { EventBody, LogRecord } from '../../log/types.js';
import type { Event } from '../generated/stratalog/audit/v1/audit.js';
import { fromTimestamp, toTimestamp } from '../grpc/timestamps.js';

/** Costs either side a few tenths of a millisecond. */
const MESSAGE_EVENTS_MAX = 256;
/** Characters of bodies that the server holds for a slow reader. One event may be longer. */
const MESSAGE_TEXT_MAX = 128 * 1024;

export function toEvent(record: LogRecord): Event {
  return {
    position: BigInt(record.position),
    time: toTimestamp(record.time),
    stream: record.stream,
    streamVersion: BigInt(record.streamVersion),
    type: record.type,
    schemaVersion: record.schemaVersion,
    data: JSON.stringify(record.data),
    closesStream: record.closesStream,
  };
}

/** @throws SyntaxError; TypeError if the body is not an object */
export function fromEvent(event: Event): LogRecord {
  return {
    position: position(Number(event.position)),
    time: fromTimestamp(event.time ?? { seconds: 0n, nanos: 0 }),
    stream: event.stream,
    streamVersion: streamVersion(Number(event.streamVersion)),
    type: event.type,
    schemaVersion: event.schemaVersion,
    data: bodyOf(event.data),
    closesStream: event.closesStream,
  };
}

function bodyOf(json: string): EventBody {
  const body: unknown = JSON.parse(json);
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body as EventBody;
  throw new TypeError('the body of the event is not a JSON object');
}

/** Groups events into messages. Converts records lazily. */
export function* inMessages(records: Iterable<LogRecord>): Iterable<Event[]> {
  let events: Event[] = [];
  let length = 0;
  for (const record of records) {
    const event = toEvent(record);
    const added = event.data.length;
    if (events.length === MESSAGE_EVENTS_MAX || (length + added > MESSAGE_TEXT_MAX && length > 0)) {
      yield events;
      events = [];
      length = 0;
    }
    events.push(event);
    length += added;
  }
  if (events.length > 0) yield events;
}
