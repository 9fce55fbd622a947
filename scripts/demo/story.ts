/** Tells the events of a log as a table that a person can read. */
import pc from 'picocolors';
import { z } from 'zod';
import type { DaemonEvent } from '../../src/machines/events/daemon-events.js';
import type { SnapshotEvent } from '../../src/machines/events/events.js';
import { understand } from '../../src/machines/events/streams.js';
import { streamVersion, unixNanos } from '../../src/base/units.js';

/** A line of `stratalog log --json`. */
const lineSchema = z.object({
  position: z.coerce.number(),
  time: z.string(),
  stream: z.string(),
  type: z.string(),
  schemaVersion: z.number(),
  data: z.unknown(),
});

export interface StoryRow {
  readonly time: string;
  readonly position: string;
  readonly event: string;
  readonly snapshot: string;
  readonly what: string;
}

/** Rows from the output of `stratalog log --json`, in the order of the log. */
export function storyOf(jsonLines: string): StoryRow[] {
  let isRunning = false;
  return jsonLines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => lineSchema.parse(JSON.parse(line)))
    .map((record) => {
      const wasKilled = isRunning && record.type === 'DaemonStarted';
      if (record.type === 'DaemonStarted') isRunning = true;
      if (record.type === 'DaemonStopped') isRunning = false;
      const understood = understand({
        ...record,
        time: unixNanos(0n),
        streamVersion: streamVersion(0),
      });
      const isSnapshot = understood.about === 'snapshot';
      return {
        time: record.time.slice(11, 23),
        position: String(record.position),
        event: record.type,
        snapshot: isSnapshot ? String(understood.id) : '',
        what:
          (isSnapshot ? ofSnapshot(understood.event) : ofDaemon(understood.event)) +
          (wasKilled ? '; the one before it was killed' : ''),
      };
    });
}

function ofSnapshot({ type, data }: SnapshotEvent): string {
  switch (type) {
    case 'SnapshotPreparing': {
      const below = data.parent === null ? '' : `, on ${data.parent.id}`;
      return `${data.kind} for ${shorten(data.key)}${below}`;
    }
    case 'IdMappingStarted':
      return 'its layers are mounted with mapped ids';
    case 'SnapshotPrepared':
      return 'its directories stand';
    case 'SnapshotCommitting':
      return `to become ${shorten(data.name)}`;
    case 'SnapshotCommitted':
      return `${shorten(data.name)}, ${kibibytes(data.usage.size)}, ${data.durability} on disk`;
    case 'SnapshotCommitFailed':
    case 'RemoteMountFailed':
    case 'LayerUnavailable':
    case 'SnapshotAbandoned':
    case 'SnapshotRemovalFailed':
    case 'SnapshotSalvaged':
      return data.reason;
    case 'SnapshotRemoving':
      return data.deferred ? 'its name is free, its directory goes later' : 'its name is free';
    case 'SnapshotCollecting':
      return 'its directory goes now';
    case 'SnapshotRemoved':
      return 'nothing of it is left';
    case 'LabelsUpdated':
      return `${data.labels.size} labels`;
    case 'LayerAvailable':
      return data.how;
    case 'RemoteMountStarted':
      return 'the remote file system is asked for the layer';
    case 'RemoteMounted':
      return `${data.fileSystem} has mounted the layer`;
  }
}

function ofDaemon({ type, data }: DaemonEvent): string {
  switch (type) {
    case 'DaemonStarted':
      return `process ${data.pid}, ${data.replayed} records replayed`;
    case 'DaemonStopped':
      return data.why;
    case 'RecoveryPlanned':
      return data.findings.length === 0
        ? 'log and disk agree'
        : data.findings
            .map(({ kind, subject, action }) => `${kind} ${subject}: ${action}`)
            .join('; ');
    case 'RootFileSystemChanged':
      return `${data.part}: ${data.how}`;
    case 'ClockStepped':
      return `by ${data.byMillis} ms`;
    case 'TailCut':
      return `${data.bytes} unfinished bytes saved as ${data.savedAs}`;
    case 'DirectoriesCollected':
      return `${data.collected} snapshots, ${data.orphans} orphans`;
    case 'CheckpointTaken':
      return `${data.snapshots} snapshots up to ${data.position}`;
    case 'SegmentChecked':
      return `records ${data.from} to ${data.to - 1}`;
    case 'DirectoriesPreallocated':
    case 'PreallocatedReleased':
      return `${data.ids.length} directories, from ${data.ids[0] ?? 'none'}`;
    case 'DirectoryRecreated':
      return data.path;
    case 'OrphanFound':
    case 'OrphanRemoved':
      return data.name;
    case 'LogRepaired':
      return data.steps.join('; ');
    case 'DirectoriesSetAside':
      return data.directories.map(({ name }) => name).join(', ');
    case 'DirectoriesReleased':
      return data.names.join(', ');
    case 'SegmentsRetired':
      return data.segments.join(', ');
  }
}

/** `default/12/extract-123-abcd sha256:…` → `layer 1f8eea30`; `default/3/counter` → `counter`. */
function shorten(name: string): string {
  const key = /^[^/]+\/\d+\/(.*)$/s.exec(name)?.[1] ?? name;
  return key
    .replace(/^extract-\d+-\S+ /, '')
    .replace(/^sha256:([0-9a-f]{8})[0-9a-f]*$/, 'layer $1');
}

const kibibytes = (bytes: number): string => `${Math.ceil(bytes / 1024)} KiB`;

const columns = ['time', 'position', 'event', 'snapshot', 'what'] as const;

/** Left-aligned words, right-aligned numbers; colours only where the terminal wants them. */
export function renderStory(rows: readonly StoryRow[]): string {
  const widths = columns.map((column) =>
    Math.max(column.length, ...rows.map((row) => row[column].length)),
  );
  const lineOf = (row: Readonly<Record<(typeof columns)[number], string>>) =>
    columns.map((column, index) => {
      const width = widths[index] ?? 0;
      if (column === 'what') return row[column];
      const isNumber = column === 'position' || column === 'snapshot';
      return isNumber ? row[column].padStart(width) : row[column].padEnd(width);
    });
  const heading = lineOf({
    ...{ time: 'TIME', position: 'POSITION', event: 'EVENT' },
    ...{ snapshot: 'SNAPSHOT', what: 'WHAT' },
  });
  const body = rows.map((row) => {
    const [time = '', position = '', event = '', snapshot = '', what = ''] = lineOf(row);
    return [pc.dim(time), pc.dim(position), colourOf(row.event)(event), snapshot, what].join('  ');
  });
  return [pc.bold(heading.join('  ')), ...body].join('\n');
}

function colourOf(event: string): (text: string) => string {
  if (event.startsWith('Daemon') || event === 'RecoveryPlanned') return pc.cyan;
  if (event === 'SnapshotCommitted' || event === 'SnapshotPrepared') return pc.green;
  if (/Failed|Unavailable|Abandoned|TailCut|Orphan|SetAside/.test(event)) return pc.red;
  if (/Remov|Collect/.test(event)) return pc.yellow;
  return (text) => text;
}
