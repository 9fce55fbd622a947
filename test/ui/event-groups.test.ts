/** Trouble is one thing for the page and for `stratalog log`, and each event has a group. */
import { expect, it } from 'vitest';
import { position, streamVersion, unixNanos } from '../../src/base/units.js';
import { isWarning } from '../../src/inspect/events/warning-events.js';
import type { LogRecord } from '../../src/log/types.js';
import { DAEMON_EVENTS, DAEMON_STREAM } from '../../src/machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../../src/machines/events/events.js';
import { groupOf, GROUPS, isMarked } from '../../src/ui/event-groups.js';

const recordOf = (stream: string, type: string): LogRecord => ({
  ...{ position: position(0), time: unixNanos(0n), stream, type, data: {} },
  ...{ streamVersion: streamVersion(0), schemaVersion: 1, closesStream: false },
});

const records = [
  ...Object.keys(SNAPSHOT_EVENTS).map((type) => recordOf('snapshot-1', type)),
  ...Object.keys(DAEMON_EVENTS).map((type) => recordOf(DAEMON_STREAM, type)),
];

it('takes an event whose name reports a failure or a loss as a warning', () => {
  const bad = /Failed|Unavailable|Abandoned|Salvaged|Cut$|Repaired|Recreated|OrphanFound|SetAside/;
  const told = records.filter(isWarning).map(({ type }) => type);
  expect(told).toEqual(records.map(({ type }) => type).filter((type) => bad.test(type)));
});

it('colours and marks warnings, and tells events of snapshots from those of the daemon', () => {
  for (const record of records) {
    const group = GROUPS[groupOf(record)];
    expect(group === 'warning').toBe(isWarning(record));
    if (group === 'warning') expect(isMarked(record)).toBe(true);
    else expect(group === 'daemon').toBe(record.stream === DAEMON_STREAM);
  }
});
