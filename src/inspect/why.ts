/**
 * How each layer came to be here: taken from the remote file system, or brought by the client, and
 * for which reason. Only what the log has is told: a Prepare that was answered "exists already"
 * left no event, and that is said so.
 */
import type { Position, SnapshotId, UnixNanos } from '../base/units.js';
import type { LogRecord } from '../log/types.js';
import type { SnapshotEvent } from '../machines/events.js';
import { TARGET_LABEL } from '../machines/labels.js';
import { idOfStream } from '../machines/streams.js';
import type { Archive } from './archive.js';
import { fitOf } from './bears-text.js';
import { settingsIn, type SettingsThen } from './settings-then.js';
import { eventOf, livesOf, nameIn, type Subject } from './subject.js';

export type Decision =
  /** The remote file system had it: nothing was downloaded. */
  | { readonly kind: 'remote'; readonly fileSystem: string; readonly ref: string }
  /** It was asked for and not to be had. */
  | {
      readonly kind: 'refused';
      readonly fileSystem: string;
      readonly ref: string;
      readonly reason: string;
    }
  /** A target was named, and the daemon ran without a remote file system. */
  | { readonly kind: 'no-file-system'; readonly target: string }
  /** There was one, and it was not asked although a target was named. */
  | { readonly kind: 'not-asked'; readonly target: string }
  /** The client named no target, so there was nothing to ask for. */
  | { readonly kind: 'no-target' }
  /** It is still being asked. */
  | { readonly kind: 'under-way'; readonly fileSystem: string; readonly ref: string }
  /** The preparation was given up. */
  | { readonly kind: 'abandoned'; readonly reason: string }
  /** A container's directory, or a view: no layer at all. */
  | { readonly kind: 'no-layer' }
  | { readonly kind: 'unknown'; readonly why: string };

export interface LayerReason {
  readonly id: SnapshotId;
  readonly name: string;
  /** Of its first event that is kept. */
  readonly position: Position;
  readonly time: UnixNanos;
  readonly decision: Decision;
  /** From the beginning until it was a layer; null when it is none, or not yet. */
  readonly readyAfter: bigint | null;
  /** Why the layer that was mounted could not be used at times. */
  readonly losses: readonly { readonly position: Position; readonly reason: string }[];
  readonly isGone: boolean;
}

/** `settings`: those in force when the life began; null when that start is not kept. */
export function reasonFor({ id, records }: Subject, settings: SettingsThen | null): LayerReason {
  const [first] = records;
  if (first === undefined) throw new RangeError('a subject has records');
  const events = records.map((record) => ({ record, event: eventOf(record) }));
  const committed = events.find(({ event }) => event?.type === 'SnapshotCommitted')?.record;
  return {
    id,
    name: nameIn(records) ?? '',
    position: first.position,
    time: first.time,
    decision: decisionIn(
      events.flatMap(({ event }) => event ?? []),
      settings,
    ),
    readyAfter: committed === undefined ? null : committed.time - first.time,
    losses: events.flatMap(({ record, event }) =>
      event?.type === 'LayerUnavailable'
        ? [{ position: record.position, reason: event.data.reason }]
        : [],
    ),
    isGone: records.some(({ type }) => type === 'SnapshotRemoving'),
  };
}

function decisionIn(events: readonly SnapshotEvent[], settings: SettingsThen | null): Decision {
  const find = <Type extends SnapshotEvent['type']>(type: Type) =>
    events.find((event): event is Extract<SnapshotEvent, { type: Type }> => event.type === type);
  const begun = find('SnapshotPreparing')?.data;
  const asked = find('RemoteMountStarted')?.data;
  const committed = find('SnapshotCommitted')?.data;
  if (committed?.remote != null) return { kind: 'remote', ...committed.remote };
  const failed = find('RemoteMountFailed');
  if (asked !== undefined && failed !== undefined) {
    return { kind: 'refused', ...asked, reason: failed.data.reason };
  }
  const abandoned = find('SnapshotAbandoned');
  if (abandoned !== undefined) return { kind: 'abandoned', reason: abandoned.data.reason };
  if (asked !== undefined) return { kind: 'under-way', ...asked };
  if (begun === undefined) return { kind: 'unknown', why: 'its beginning is retired from the log' };
  const target = begun.target ?? begun.labels.get(TARGET_LABEL) ?? null;
  if (target === null) {
    const isLayer = committed !== undefined || find('SnapshotCommitting') !== undefined;
    return isLayer ? { kind: 'no-target' } : { kind: 'no-layer' };
  }
  if (settings === null || !settings.knowsFileSystem) {
    return { kind: 'unknown', why: 'the log does not tell which file system was configured then' };
  }
  return settings.fileSystem === null
    ? { kind: 'no-file-system', target }
    : { kind: 'not-asked', target };
}

/** Whom it stands on, or was put on by Commit. */
export function parentIds({ records }: Subject): readonly SnapshotId[] {
  return records.flatMap((record) => {
    const event = eventOf(record);
    return event !== null && 'parent' in event.data && event.data.parent !== null
      ? [event.data.parent.id]
      : [];
  });
}

/** Snapshots of which a label says the text, whole or but for a tag's beginning: an image's name. */
export async function labelledWith(archive: Archive, text: string): Promise<readonly Subject[]> {
  const ids = new Set<SnapshotId>();
  for await (const batch of archive.read()) {
    for (const record of batch) {
      const id = idOfStream(record.stream);
      if (id !== null && saysSo(record, text)) ids.add(id);
    }
  }
  return livesOf(
    archive,
    [...ids].sort((one, other) => one - other),
  );
}

function saysSo(record: LogRecord, text: string): boolean {
  const event = eventOf(record);
  if (event === null || !('labels' in event.data)) return false;
  const fit = fitOf(text);
  for (const value of event.data.labels.values()) {
    const fits = fit(value);
    // Of a digest, such as that of a manifest, the beginning will do; of an image's name it will not.
    if (fits === 'whole' || (fits !== null && isDigest(value))) return true;
    if (isShortFor(text, value)) return true;
  }
  return false;
}

const isDigest = (value: string): boolean => /^sha256:[0-9a-f]{64}$/.test(value);

/** `busybox:1` and `library/busybox:1` for `docker.io/library/busybox:1`, as Docker's users say it. */
function isShortFor(text: string, value: string): boolean {
  return text.length > 2 && value.endsWith(`/${text}`);
}

/** The settings at the start of each life, from one reading of the daemon's own stream. */
export async function settingsBefore(
  archive: Archive,
  subjects: readonly Subject[],
): Promise<ReadonlyMap<SnapshotId, SettingsThen | null>> {
  const starts: SettingsThen[] = [];
  for await (const batch of archive.read({ stream: 'daemon' })) {
    for (const { type, data, position } of batch) {
      if (type === 'DaemonStarted') starts.push(settingsIn(data['settings'], position));
    }
  }
  return new Map(
    subjects.map(({ id, records }) => {
      const from = records[0]?.position ?? 0;
      return [id, starts.findLast(({ since }) => since < from) ?? null];
    }),
  );
}
