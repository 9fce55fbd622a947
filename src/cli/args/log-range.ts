/** Parses the flags of `stratalog log`: which events to print, and in which order. */
import { closest, distance } from 'fastest-levenshtein';
import { UsageError } from '../../base/errors.js';
import { position, type Position, type UnixNanos } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import type { CallerFilter, LogFilter } from '../../inspect/archive/log-filter.js';
import { timeRange, type TimeQuery } from '../../inspect/archive/time-range.js';
import { DAEMON_EVENTS, DAEMON_STREAM } from '../../machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../../machines/events/events.js';
import { idOfStream } from '../../machines/events/streams.js';
import {
  parseMoment,
  resolvePosition,
  quoted,
  parseTime,
  parseWholeNumber,
  type Moment,
} from './moment.js';

/** As commander returns them: strings, so that errors have our own messages. */
export interface LogFlags {
  readonly stream?: string;
  readonly type?: string;
  readonly from?: string;
  readonly after?: string;
  readonly to?: string;
  readonly since?: string;
  readonly until?: string;
  readonly key?: string;
  readonly namespace?: string;
  readonly caller?: string;
  readonly count?: string;
  readonly follow?: true;
  readonly reverse?: true;
}

interface LogOrder {
  readonly countMax: number;
  readonly isReverse: boolean;
  readonly isFollowing: boolean;
}

export interface LogRange extends LogFilter, LogOrder {
  /** The first position to print. */
  readonly from: Position;
  /** The position after the last one to print; null for the end of the log. */
  readonly to: Position | null;
}

/** The part that can be parsed without a log. */
export interface LogQuery extends Omit<LogFilter, 'isInTime'>, LogOrder, TimeQuery {
  readonly from: Moment;
  readonly to: Moment | null;
}

/** @throws UsageError with the flag, the mistake and an example */
export function queryOf(flags: LogFlags, now: UnixNanos): LogQuery {
  if (flags.from !== undefined && flags.after !== undefined) {
    throw new UsageError('--from and --after are mutually exclusive: both set the first position');
  }
  if (flags.follow === true && flags.reverse === true) {
    throw new UsageError('--follow and --reverse are mutually exclusive');
  }
  if (flags.follow === true && flags.to !== undefined) {
    throw new UsageError('--follow and --to are mutually exclusive: use -n to limit --follow');
  }
  if (flags.follow === true && flags.until !== undefined) {
    throw new UsageError('--follow and --until are mutually exclusive: use -n to limit --follow');
  }
  const after = parseWholeNumber('--after', flags.after);
  return {
    from: after === null ? parseMoment('--from', flags.from ?? '0', now) : position(after + 1),
    to: flags.to === undefined ? null : parseMoment('--to', flags.to, now),
    stream: flags.stream === undefined ? null : streamName(flags.stream),
    types: flags.type === undefined ? null : eventTypes(flags.type),
    since: flags.since === undefined ? null : parseTime('--since', flags.since, now),
    until: flags.until === undefined ? null : parseTime('--until', flags.until, now),
    key: flags.key ?? null,
    namespace: flags.namespace ?? null,
    caller: flags.caller === undefined ? null : callerFilter(flags.caller),
    countMax: parseWholeNumber('-n', flags.count) ?? Infinity,
    isReverse: flags.reverse === true,
    isFollowing: flags.follow === true,
    now,
  };
}

/** Resolves times to positions, so that records certainly outside the time range are not read. */
export async function rangeOf(archive: Archive, query: LogQuery): Promise<LogRange> {
  const { since, until, now, isFollowing, ...filter } = query;
  const from = await resolvePosition(archive, query.from);
  const to = query.to === null ? null : await resolvePosition(archive, query.to);
  const time = await timeRange(archive, { since, until, now });
  return {
    ...filter,
    isFollowing,
    isInTime: time.holds,
    from: position(Math.max(from, time.from)),
    to: time.to === null || (to !== null && to < time.to) ? to : time.to,
  };
}

/** `daemon`, `snapshot-12`, or the short form `12`. */
function streamName(text: string): string {
  const stream = /^[1-9]\d*$/.test(text) ? `snapshot-${text}` : text;
  if (stream === DAEMON_STREAM || idOfStream(stream) !== null) return stream;
  throw new UsageError(
    `--stream ${quoted(text)}: not a stream name; use ${DAEMON_STREAM}, snapshot-12 or 12`,
  );
}

/** `pid:123`, `uid:0`, `ns:k8s.io`, `lease:x`; without a prefix, a namespace. */
function callerFilter(text: string): CallerFilter {
  const [, sort = 'ns', value = ''] = /^(?:(pid|uid|ns|lease):)?([^:]+)$/.exec(text) ?? [];
  const isNumber = sort === 'pid' || sort === 'uid';
  if (value === '' || (isNumber && !/^\d{1,10}$/.test(value))) {
    throw new UsageError(
      `--caller ${quoted(text)}: not a caller; use pid:123, uid:0, lease:NAME, or a containerd namespace as ns:k8s.io or k8s.io`,
    );
  }
  if (sort === 'ns') return { namespace: value };
  if (sort === 'lease') return { lease: value };
  return sort === 'pid' ? { pid: Number(value) } : { uid: Number(value) };
}

function eventTypes(text: string): ReadonlySet<string> {
  const known = [...Object.keys(SNAPSHOT_EVENTS), ...Object.keys(DAEMON_EVENTS)];
  const types = text.split(',').map((type) => type.trim());
  for (const type of types) {
    if (known.includes(type)) continue;
    throw new UsageError(
      `--type ${quoted(text)}: unknown event type ${quoted(type)}; ` +
        `${suggestion(type, known)}separate several types by commas`,
    );
  }
  return new Set(types);
}

/** Empty if no known type is similar. */
function suggestion(type: string, known: readonly string[]): string {
  const near = closest(type, known);
  return distance(type, near) * 3 <= type.length ? `did you mean ${near}? ` : '';
}
