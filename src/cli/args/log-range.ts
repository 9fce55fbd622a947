/** The flags of `stratalog log`, understood: which events are wished for, and in which order. */
import { closest, distance } from 'fastest-levenshtein';
import { UsageError } from '../../base/errors.js';
import { position, type Position, type UnixNanos } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import type { CallerFilter, LogFilter } from '../../inspect/archive/log-filter.js';
import { timeRange, type TimeQuery } from '../../inspect/archive/time-range.js';
import { DAEMON_EVENTS, DAEMON_STREAM } from '../../machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../../machines/events/events.js';
import { idOfStream } from '../../machines/events/streams.js';
import { parseMoment, positionOf, quoted, timeOf, wholeNumber, type Moment } from './moment.js';

/** As commander hands them over: texts, because a bad one deserves a sentence of ours. */
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
  /** First position. */
  readonly from: Position;
  /** First position that is not shown; null for the end of the log. */
  readonly to: Position | null;
}

/** What can be understood without looking into a log. */
export interface LogQuery extends Omit<LogFilter, 'isInTime'>, LogOrder, TimeQuery {
  readonly from: Moment;
  readonly to: Moment | null;
}

/** @throws UsageError that says which flag, what is wrong with it and what would be right. */
export function queryOf(flags: LogFlags, now: UnixNanos): LogQuery {
  if (flags.from !== undefined && flags.after !== undefined) {
    throw new UsageError('--from and --after both say where to begin: give one of them');
  }
  if (flags.follow === true && flags.reverse === true) {
    throw new UsageError('--follow reads on into the future, --reverse into the past: give one');
  }
  if (flags.follow === true && flags.to !== undefined) {
    throw new UsageError('--follow goes on for ever: leave out --to, or use -n to end it');
  }
  if (flags.follow === true && flags.until !== undefined) {
    throw new UsageError('--follow goes on for ever: leave out --until, or use -n to end it');
  }
  const after = wholeNumber('--after', flags.after);
  return {
    from: after === null ? parseMoment('--from', flags.from ?? '0', now) : position(after + 1),
    to: flags.to === undefined ? null : parseMoment('--to', flags.to, now),
    stream: flags.stream === undefined ? null : streamName(flags.stream),
    types: flags.type === undefined ? null : eventTypes(flags.type),
    since: flags.since === undefined ? null : timeOf('--since', flags.since, now),
    until: flags.until === undefined ? null : timeOf('--until', flags.until, now),
    key: flags.key ?? null,
    namespace: flags.namespace ?? null,
    caller: flags.caller === undefined ? null : callerFilter(flags.caller),
    countMax: wholeNumber('-n', flags.count) ?? Infinity,
    isReverse: flags.reverse === true,
    isFollowing: flags.follow === true,
    now,
  };
}

/** Where in this log that is. What is surely older or younger than was asked for is not read. */
export async function rangeOf(archive: Archive, query: LogQuery): Promise<LogRange> {
  const { since, until, now, isFollowing, ...filter } = query;
  const from = await positionOf(archive, query.from);
  const to = query.to === null ? null : await positionOf(archive, query.to);
  const time = await timeRange(archive, { since, until, now });
  return {
    ...filter,
    isFollowing,
    isInTime: time.holds,
    from: position(Math.max(from, time.from)),
    to: time.to === null || (to !== null && to < time.to) ? to : time.to,
  };
}

/** `daemon`, `snapshot-12`, or `12` for short. */
function streamName(text: string): string {
  const stream = /^[1-9]\d*$/.test(text) ? `snapshot-${text}` : text;
  if (stream === DAEMON_STREAM || idOfStream(stream) !== null) return stream;
  throw new UsageError(
    `--stream ${quoted(text)}: there are the stream ${DAEMON_STREAM} and one for each snapshot; ` +
      'say daemon, snapshot-12, or 12',
  );
}

/** `pid:123`, `uid:0`, `ns:k8s.io`, `lease:x`; a bare word is a namespace. */
function callerFilter(text: string): CallerFilter {
  const [, sort = 'ns', value = ''] = /^(?:(pid|uid|ns|lease):)?([^:]+)$/.exec(text) ?? [];
  const isNumber = sort === 'pid' || sort === 'uid';
  if (value === '' || (isNumber && !/^\d{1,10}$/.test(value))) {
    throw new UsageError(
      `--caller ${quoted(text)}: say pid:123, uid:0, lease:NAME, or a containerd namespace as ns:k8s.io or k8s.io`,
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
      `--type ${quoted(text)}: there is no event ${quoted(type)}; ` +
        `${suggestion(type, known)}several are separated by commas`,
    );
  }
  return new Set(types);
}

/** Nothing when no name is near: a name that has nothing to do with it would only puzzle. */
function suggestion(type: string, known: readonly string[]): string {
  const near = closest(type, known);
  return distance(type, near) * 3 <= type.length ? `did you mean ${near}? ` : '';
}
