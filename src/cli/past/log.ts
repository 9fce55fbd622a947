/** `stratalog log`: the events themselves, one a line. Reads without a lock, beside a daemon too. */
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
import { requireReached } from '../args/moment.js';
import type { Output } from '../terminal/print.js';
import { printing, say, visible } from '../terminal/print.js';
import { rootOf } from '../args/root-option.js';

interface Flags extends LogFlags, ArchiveFlags {
  readonly json?: true;
  readonly quiet?: true;
  /** False for `--no-trunc`. */
  readonly trunc: boolean;
}

export function logCommand(): Command {
  return withArchiveOption(new Command('log'))
    .description('print the events of a log, one a line, without a lock and beside a daemon too')
    .option('--stream <stream>', 'only of one stream: daemon, snapshot-12, or 12')
    .option('--type <types>', 'only these events, separated by commas')
    .option('--from <moment>', 'from this position on, or from this time: RFC 3339, or so long ago')
    .option('--after <position>', 'the position behind this one: goes on where a reader stopped')
    .option('--to <moment>', 'up to this moment, not including it')
    .option('--since <time>', 'not older than: RFC 3339, or so long ago: 90s, 10m, 3d')
    .option('--until <time>', 'not younger than this time')
    .option('--key <text>', 'only of snapshots that ever bore this key, name or digest')
    .option('--namespace <name>', 'only of snapshots with a key in this containerd namespace')
    .option('--caller <who>', 'only what these asked for: pid:123, uid:0, lease:x, ns:k8s.io')
    .option('-f, --follow', 'go on with each new event until interrupted')
    .option('-r, --reverse', 'newest first')
    .option('-n, --count <number>', 'so many at most: the first ones, with --reverse the newest')
    .option('--json', 'print a JSON object for each event')
    .option('-q, --quiet', 'print positions only')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText('after', examples)
    .action((flags: Flags) =>
      printing(flags, (out) => {
        const query = queryOf(flags, systemClock().now());
        return withArchive(
          flags,
          systemDisk(),
          async (archive) => run(archive, await rangeOf(archive, query), flags, out),
          // What stands at the end of what was asked for is told behind it.
          { onDamage: () => undefined },
        );
      }),
    );
}

const examples = `
Examples:
  stratalog log --since 10m --key sha256:1f8eea30a60e   one layer's events of the last ten minutes
  stratalog log --type SnapshotRemoving --namespace k8s.io   who had what removed
  stratalog log -f --json --after 1200                  goes on behind position 1200, for ever

Exits 3 when the log stops at damage: what stands before it was printed.`;

async function run(archive: Archive, range: LogRange, flags: Flags, out: Output): Promise<void> {
  // Whoever waits for more behind what is not there may wait for another log's events.
  if (range.isFollowing) requireReached(range.from, (await archive.bounds()).next);
  const stop = new AbortController();
  const interrupt = (): void => {
    stop.abort();
  };
  // An interrupted look is a finished one.
  if (range.isFollowing) process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const print = printerOf(flags, out);
  if (print === printLine) await out.line(heading);
  const { countMax, isReverse } = range;
  let shown = 0;
  // Whether more should be there is seen in files only.
  const root = archive instanceof RootArchive ? await rootOf(flags) : null;
  if (root !== null && isReverse) await tellEnd(root, range, false);
  try {
    if (countMax === 0) return;
    const isWanted = await recordFilter(archive, range);
    for await (const batch of batchesOf(archive, range, stop.signal)) {
      for (const record of batch) {
        if (!isWanted(record)) continue;
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
  const isBare = print === printLine && shown === 0;
  if (root !== null && !isReverse) await tellEnd(root, range, isBare);
  else if (isBare) tellNone((await archive.bounds()).next);
}

/** A reader simply stops at the first bytes that are no record: whether more was there is told here. */
async function tellEnd(root: string, range: LogRange, isBare: boolean): Promise<void> {
  const { position, damage, isTorn } = await endOf(root);
  const isAsked = range.to === null || position < range.to;
  if (isAsked && damage !== null) {
    say(`the log stops at position ${position}: ${damage}. Run \`stratalog verify\``);
    process.exitCode = EXIT.findings;
  } else if (isAsked && isTorn) {
    say(`the log ends at position ${position} with a torn tail; a start cuts it`);
  } else if (isBare) {
    tellNone(position);
  }
}

const tellNone = (end: number): void => say(`no event matches; the log ends at position ${end}`);

async function* batchesOf(
  archive: Archive,
  range: LogRange,
  signal: AbortSignal,
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const { from, to, stream, isReverse } = range;
  let next = from;
  // What is there already comes in batches, also for a follower: it may be millions.
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

/** Widths fit all but the longest: a stream of lines cannot be measured beforehand. */
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
