/**
 * How each layer came to be here: mounted by the remote file system, unpacked from an image, or made
 * on this machine, and for which reason. Only what the log has is told. Whether an image was
 * downloaded for it no event tells: its content may have been in containerd already. Nor does a
 * Prepare that was answered "exists already" leave one.
 */
import type { Position, SnapshotId, UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { SnapshotEvent } from '../../machines/events/events.js';
import { TARGET_LABEL } from '../../machines/labels.js';
import { idOfStream } from '../../machines/events/streams.js';
import type { Archive } from '../archive/archive.js';
import { fitOf, withoutSequence } from '../events/event-names.js';
import { settingsIn, type SettingsAt } from '../archive/settings-at.js';
import { eventOf, livesOf, nameIn, type Subject } from '../archive/subject.js';

/** How the remote file system was asked for a layer that it did not provide. */
export type RemoteQuestion =
  /** It was asked, and did not have it. */
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
  | { readonly kind: 'unknown'; readonly why: string };

/** Where the files of a snapshot come from. */
export type Origin =
  /** The remote file system had it. */
  | { readonly kind: 'remote'; readonly fileSystem: string; readonly ref: string }
  /** The client unpacked a layer of an image into it. */
  | { readonly kind: 'unpacked'; readonly key: string; readonly question: RemoteQuestion }
  /** Committed from a snapshot that was written to here: by a container, a build, a client. */
  | { readonly kind: 'made-here'; readonly key: string; readonly question: RemoteQuestion }
  /** The remote file system is still being asked. */
  | { readonly kind: 'under-way'; readonly fileSystem: string; readonly ref: string }
  /** The preparation was abandoned. */
  | { readonly kind: 'abandoned'; readonly reason: string }
  /** Not committed: a container's directory, a view, or what a layer is unpacked into. */
  | { readonly kind: 'no-layer'; readonly isUnpack: boolean; readonly question: RemoteQuestion }
  | { readonly kind: 'unknown'; readonly why: string };

export interface LayerReason {
  readonly id: SnapshotId;
  readonly name: string;
  /** Of its first event that is kept. */
  readonly position: Position;
  readonly time: UnixNanos;
  readonly origin: Origin;
  /** From the beginning until it was a layer; null when it is none, or not yet. */
  readonly readyAfter: bigint | null;
  /** Why the layer that was mounted could not be used at times. */
  readonly losses: readonly { readonly position: Position; readonly reason: string }[];
  readonly isGone: boolean;
}

/** `settings`: those in force when the life began; null when that start is not kept. */
export function reasonFor({ id, records }: Subject, settings: SettingsAt | null): LayerReason {
  const [first] = records;
  if (first === undefined) throw new RangeError('a subject has records');
  const events = records.map((record) => ({ record, event: eventOf(record) }));
  const committed = events.find(({ event }) => event?.type === 'SnapshotCommitted')?.record;
  return {
    id,
    name: nameIn(records) ?? '',
    position: first.position,
    time: first.time,
    origin: originIn(
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

function originIn(events: readonly SnapshotEvent[], settings: SettingsAt | null): Origin {
  const find = finderIn(events);
  const begun = find('SnapshotPreparing')?.data;
  const asked = find('RemoteMountStarted')?.data;
  const committed = find('SnapshotCommitted')?.data;
  if (committed?.remote != null) return { kind: 'remote', ...committed.remote };
  const abandoned = find('SnapshotAbandoned');
  if (abandoned !== undefined) return { kind: 'abandoned', reason: abandoned.data.reason };
  if (find('SnapshotSalvaged') !== undefined) {
    return { kind: 'unknown', why: 'a repair took its directory in, and its events are lost' };
  }
  if (asked !== undefined && find('RemoteMountFailed') === undefined) {
    return { kind: 'under-way', ...asked };
  }
  if (begun === undefined) return { kind: 'unknown', why: 'its beginning is retired from the log' };
  const { key } = begun;
  const question = questionIn(events, settings);
  const isUnpack = isUnpackKey(key);
  const isLayer = committed !== undefined || find('SnapshotCommitting') !== undefined;
  if (!isLayer) return { kind: 'no-layer', isUnpack, question };
  return { kind: isUnpack ? 'unpacked' : 'made-here', key, question };
}

function questionIn(events: readonly SnapshotEvent[], settings: SettingsAt | null): RemoteQuestion {
  const find = finderIn(events);
  const begun = find('SnapshotPreparing')?.data;
  const asked = find('RemoteMountStarted')?.data;
  const failed = find('RemoteMountFailed')?.data;
  if (asked !== undefined && failed !== undefined) {
    return { kind: 'refused', ...asked, reason: failed.reason };
  }
  const target = begun?.target ?? begun?.labels.get(TARGET_LABEL) ?? null;
  if (target === null) return { kind: 'no-target' };
  if (settings === null || !settings.knowsFileSystem) {
    return { kind: 'unknown', why: 'the log does not tell which file system was configured then' };
  }
  return settings.fileSystem === null
    ? { kind: 'no-file-system', target }
    : { kind: 'not-asked', target };
}

/** The first event of a type. */
const finderIn =
  (events: readonly SnapshotEvent[]) =>
  <Type extends SnapshotEvent['type']>(type: Type) =>
    events.find((event): event is Extract<SnapshotEvent, { type: Type }> => event.type === type);

/**
 * Whether a key has the form that containerd (core/unpack/unpacker.go, pkg/rootfs/apply.go) and
 * BuildKit (cache/refs.go) give to what they unpack a layer into: `extract-<unique> <chain id>`.
 * `docker commit` and `nerdctl commit` apply a difference that was made here; their key has a dash
 * in place of the blank (moby's daemon/containerd/image_commit.go).
 */
const isUnpackKey = (key: string): boolean =>
  /^extract-\S+ [a-z0-9]+:[0-9a-f]{32,}$/.test(withoutSequence(key));

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
): Promise<ReadonlyMap<SnapshotId, SettingsAt | null>> {
  const starts: SettingsAt[] = [];
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
