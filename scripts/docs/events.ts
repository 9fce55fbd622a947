/** docs/reference/events.md: every event of the log, from its schema. */
import type { z } from 'zod';
import {
  DAEMON_EVENTS,
  daemonEventSchemas,
  type DaemonEventType,
} from '../../src/machines/events/daemon-events.js';
import {
  encodeSnapshotEvent,
  SNAPSHOT_EVENTS,
  snapshotEventSchemas,
  type SnapshotEvent,
  type SnapshotEventType,
} from '../../src/machines/events/events.js';
import { daemonExamples, snapshotExamples } from './examples.js';
import { code, fenced, heading, table } from './markdown.js';
import { fieldsOf } from './schema-fields.js';

export function events(): string {
  const snapshotTypes = Object.keys(SNAPSHOT_EVENTS) as SnapshotEventType[];
  const daemonTypes = Object.keys(DAEMON_EVENTS) as DaemonEventType[];
  return [
    heading('Events', 'src/machines/events/events.ts and src/machines/events/daemon-events.ts'),
    'All that ever stands in the log. An event is in the past tense and its name is frozen once it',
    'was released; a new shape is a new version, and older ones are still read. Position, time,',
    'stream and stream version are the record’s own and are not repeated in the body. The examples',
    'are bodies as they stand in the log, one line of JSON.',
    '',
    overview(snapshotTypes, daemonTypes),
    '',
    '## Events of a snapshot',
    '',
    'In the stream `snapshot-<id>`. What may follow what: [statecharts.md](statecharts.md).',
    '',
    ...snapshotTypes.map((type) =>
      chapter(type, SNAPSHOT_EVENTS[type], snapshotEventSchemas[type](), snapshotBody(type)),
    ),
    '## Events of the daemon',
    '',
    'In the stream `daemon`. They move no snapshot; they are there for the people who ask later.',
    '',
    ...daemonTypes.map((type) =>
      chapter(type, DAEMON_EVENTS[type], daemonEventSchemas[type](), daemonExamples[type]),
    ),
  ].join('\n');
}

function overview(
  snapshotTypes: readonly SnapshotEventType[],
  daemonTypes: readonly DaemonEventType[],
): string {
  const link = (type: string) => `[${type}](#${type.toLowerCase()})`;
  return table(
    ['event', 'stream', 'meaning'],
    [
      ...snapshotTypes.map((type) => [link(type), 'snapshot', SNAPSHOT_EVENTS[type].meaning]),
      ...daemonTypes.map((type) => [link(type), 'daemon', DAEMON_EVENTS[type].meaning]),
    ],
  );
}

function snapshotBody(type: SnapshotEventType): unknown {
  return encodeSnapshotEvent({ type, data: snapshotExamples[type] } as SnapshotEvent);
}

function chapter(
  type: string,
  { version, meaning }: { readonly version: number; readonly meaning: string },
  schema: z.ZodType,
  body: unknown,
): string {
  const fields = fieldsOf(schema);
  const rows = fields.map((field) => [code(field.path), field.type, field.description]);
  return [
    `### ${type}`,
    '',
    `Version ${version}: ${meaning}.`,
    '',
    rows.length === 0 ? 'No fields.' : table(['field', 'type', 'what it says'], rows),
    '',
    fenced('json', JSON.stringify(body)),
    '',
  ].join('\n');
}
