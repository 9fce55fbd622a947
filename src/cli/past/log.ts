/** `stratalog log`: the events, one per line. Takes no lock, so that it works next to a daemon. */
import { Command } from 'commander';
import { formatTime, position } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import type { Archive, ArchiveRange } from '../../inspect/archive/archive.js';
import { recordFilter } from '../../inspect/archive/log-filter.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import { summaryOf } from '../../inspect/events/summary.js';
import { isWarning } from '../../inspect/events/warning-events.js';
import type { LogRecord } from '../../log/types.js';
import { withArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { EXIT } from '../exit-codes.js';
import { endOf } from '../evidence/log-end.js';
import { rangeOf, queryOf, type LogFlags, type LogRange } from '../args/log-range.js';
import { requireWithinLog } from '../args/moment.js';
import type { Output } from '../terminal/print.js';
import { withOutput, printNotice, visible } from '../terminal/print.js';
import { rootOf } from '../args/root-option.js';

interface Flags extends LogFlags, ArchiveFlags {
  readonly json?: true;
  readonly quiet?: true;
  /** False for `--no-trunc`. */
  readonly trunc: boolean;
}

export function logCommand(): Command {
  return withArchiveOption(new Command('log'))
    .description('print the events of a log, one per line; works while a daemon is running')
    .option('--stream <stream>', 'only this stream: daemon, snapshot-12, or 12')
    .option('--type <types>', 'only these event types, separated by commas')
    .option('--from <moment>', 'start at this position or time: RFC 3339, or a duration before now')
    .option('--after <position>', 'start after this position, to resume')
    .option('--to <moment>', 'stop before this position or time')
    .option('--since <time>', 'only events since: RFC 3339, or a duration before now: 90s, 10m, 3d')
    .option('--until <time>', 'only events until this time')
    .option('--key <text>', 'only snapshots that ever had this key, name or digest')
    .option('--namespace <name>', 'only snapshots with a key in this containerd namespace')
    .option('--caller <who>', 'only requests of this caller: pid:123, uid:0, lease:x, ns:k8s.io')
    .option('-f, --follow', 'print new events until interrupted')
    .option('-r, --reverse', 'print the newest events first')
    .option('-n, --count <number>', 'print at most this many events')
    .option('--json', 'print one JSON object per event')
    .option('-q, --quiet', 'print only positions')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', examples)
    .action((flags: Flags) =>
      withOutput(flags, (out) => {
        const query = queryOf(flags, systemClock().now());
        return withArchive(
          flags,
          systemDisk(),
          async (archive) => run(archive, await rangeOf(archive, query), flags, out),
          // Damage is reported after the events, by reportLogEnd.
          { onDamage: () => undefined },
        );
      }),
    );
}

const examples = `
Examples:
  stratalog log --since 10m --key sha256:1f8eea30a60e   events of one layer in the last ten minutes
  stratalog log --type SnapshotRemoving --namespace k8s.io   which caller removed what
  stratalog log -f --json --after 1200                  follow the log after position 1200

Exits 3 if the log is damaged; the events before the damage are printed.`;

async function run(archive: Archive, range: LogRange, flags: Flags, out: Output): Promise<void> {
  // A follower of a position past the end may be waiting for the events of another log.
  if (range.isFollowing) requireWithinLog(range.from, (await archive.bounds()).next);
  const stop = new AbortController();
  const interrupt = (): void => {
    stop.abort();
  };
  // Interrupting --follow is its regular end.
  if (range.isFollowing) process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const print = printerOf(flags, out);
  if (print === printLine) await out.line(heading);
  const { countMax, isReverse } = range;
  let shown = 0;
  // Only the files show whether the log ends early.
  const root = archive instanceof RootArchive ? await rootOf(flags) : null;
  if (root !== null && isReverse) await reportLogEnd(root, range, false);
  try {
    if (countMax === 0) return;
    const matches = await recordFilter(archive, range);
    for await (const batch of batchesOf(archive, range, stop.signal)) {
      for (const record of batch) {
        if (!matches(record)) continue;
        await print(record, out);
        shown += 1;
        if (shown === countMax) return;
      }
      if (range.isFollowing) await out.flush();
    }
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
  if (range.isFollowing) return;
  await out.flush();
  const isEmptyTable = print === printLine && shown === 0;
  if (root !== null && !isReverse) await reportLogEnd(root, range, isEmptyTable);
  else if (isEmptyTable) reportNoMatch((await archive.bounds()).next);
}

/** Readers stop at the first bytes that are not a record. This reports whether that is damage. */
async function reportLogEnd(root: string, range: LogRange, isEmptyTable: boolean): Promise<void> {
  const { position, damage, isTorn } = await endOf(root);
  const isInRange = range.to === null || position < range.to;
  if (isInRange && damage !== null) {
    printNotice(`the log stops at position ${position}: ${damage}. Run \`stratalog verify\``);
    process.exitCode = EXIT.findings;
  } else if (isInRange && isTorn) {
    printNotice(`the log ends at position ${position} with a torn tail; the next startup cuts it`);
  } else if (isEmptyTable) {
    reportNoMatch(position);
  }
}

const reportNoMatch = (end: number): void =>
  printNotice(`no event matches; the log ends at position ${end}`);

async function* batchesOf(
  archive: Archive,
  range: LogRange,
  signal: AbortSignal,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const { from, to, stream, isReverse } = range;
  let next = from;
  // A follower also reads existing events in batches: there may be millions.
  const past: ArchiveRange = {
    from,
    ...(to === null ? {} : { to }),
    ...(stream === null ? {} : { stream }),
    reverse: isReverse,
  };
  for await (const batch of archive.read(past)) {
    yield batch;
    if (signal.aborted) return;
    const last = batch.at(-1);
    if (last !== undefined) next = position(last.position + 1);
  }
  if (range.isFollowing) yield* archive.follow(next, signal);
}

type Printer = (record: LogRecord, out: Output) => Promise<void>;

function printerOf(flags: Flags, out: Output): Printer {
  if (flags.json === true) return printJson;
  return flags.quiet === true ? (record) => out.line(String(record.position)) : printLine;
}

const printJson: Printer = (record, out) => {
  const { position, time, stream, streamVersion, type, schemaVersion, data } = record;
  return out.json('event', {
    position,
    time: formatTime(time),
    stream,
    streamVersion,
    type,
    schemaVersion,
    data,
  });
};

/** Fixed widths that fit most values: the lines of a stream cannot be measured in advance. */
const columns = (position: string, time: string, stream: string, event: string): string[] => [
  position.padStart(8),
  time.padEnd(30),
  stream.padEnd(14),
  event.padEnd(20),
];

const heading = `${columns('POSITION', 'TIME', 'STREAM', 'EVENT').join('  ')}  SUMMARY`;

const printLine: Printer = (record, out) => {
  const { dim, yellow } = out.colors;
  const time = formatTime(record.time);
  const cells = columns(String(record.position), time, record.stream, record.type).map(visible);
  const [at = '', when = '', stream = '', event = ''] = cells;
  const name = isWarning(record) ? yellow(event) : event;
  const line = [at, dim(when), stream, name, visible(summaryOf(record))].join('  ');
  return out.line(line.trimEnd());
};
