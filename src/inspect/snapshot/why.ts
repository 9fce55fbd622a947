/**
 * Explains the origin of a layer: mounted by the remote file system, unpacked from an image, or
 * created on this machine, and why. Uses only the log. No event records whether an image was
 * downloaded: containerd may already have had its content. A Prepare that returned AlreadyExists
 * has no event either.
 */
import type { Position, SnapshotId, UnixNanos } from '../../base/units.js';
import type { LogRecord } from '../../log/types.js';
import type { RemoteQuestion, SnapshotEvent } from '../../machines/events/events.js';
import { TARGET_LABEL } from '../../machines/labels.js';
import { idOfStream } from '../../machines/events/streams.js';
import type { Archive } from '../archive/archive.js';
import { fitOf, withoutSequence } from '../events/event-names.js';
import { settingsIn, type SettingsAt } from '../archive/settings-at.js';
import { eventOf, livesOf, nameIn, type Subject } from '../archive/subject.js';

/** Why the remote file system did not provide a layer. */
export type RemoteLookup =
  /** It was asked for the layer and did not have it. */
  | {
      readonly kind: 'refused';
      readonly fileSystem: string;
      readonly ref: string;
      readonly reason: string;
    }
  /** It was not asked, for the recorded reason. */
  | { readonly kind: 'declined'; readonly ref: string; readonly reason: string }
  /** The client named a target, but no remote file system was configured. */
  | { readonly kind: 'no-file-system'; readonly target: string }
  /** The client named a target, but the remote file system was not asked. */
  | { readonly kind: 'not-asked'; readonly target: string }
  /** The client named no target. */
  | { readonly kind: 'no-target' }
  | { readonly kind: 'unknown'; readonly why: string };

/** The origin of the files of a snapshot. */
export type Origin =
  /** The remote file system had it. */
  | { readonly kind: 'remote'; readonly fileSystem: string; readonly ref: string }
  /** The client unpacked an image layer into it. */
  | { readonly kind: 'unpacked'; readonly key: string; readonly question: RemoteLookup }
  /** Committed from a snapshot that a container, a build or a client wrote to. */
  | { readonly kind: 'made-here'; readonly key: string; readonly question: RemoteLookup }
  /** The remote mount is in progress. */
  | { readonly kind: 'under-way'; readonly fileSystem: string; readonly ref: string }
  /** The preparation was abandoned. */
  | { readonly kind: 'abandoned'; readonly reason: string }
  /** Not committed: used by a container, a view, or the target of an unpack. */
  | { readonly kind: 'no-layer'; readonly isUnpack: boolean; readonly question: RemoteLookup }
  | { readonly kind: 'unknown'; readonly why: string };

export interface LayerReason {
  readonly id: SnapshotId;
  readonly name: string;
  /** Of its first retained event. */
  readonly position: Position;
  readonly time: UnixNanos;
  readonly origin: Origin;
  /** Time from the first event until it was a layer; null if it is not one. */
  readonly readyAfter: bigint | null;
  /** When and why the layer became unavailable. */
  readonly losses: readonly { readonly position: Position; readonly reason: string }[];
  readonly isGone: boolean;
}

/** `settings`: those in force at its first event; null if that DaemonStarted is retired. */
export function reasonFor({ id, records }: Subject, settings: SettingsAt | null): LayerReason {
  const [first] = records;
  if (first === undefined) throw new RangeError('a subject must have records');
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
  const preparing = find('SnapshotPreparing')?.data;
  const lookup = lookupIn(preparing?.remote);
  const committed = find('SnapshotCommitted')?.data;
  if (committed?.remote != null) return { kind: 'remote', ...committed.remote };
  const abandoned = find('SnapshotAbandoned');
  if (abandoned !== undefined) return { kind: 'abandoned', reason: abandoned.data.reason };
  if (find('SnapshotSalvaged') !== undefined) {
    return { kind: 'unknown', why: 'a repair imported its directory; its events are lost' };
  }
  if (lookup !== null && find('RemoteMountFailed') === undefined) {
    return { kind: 'under-way', ...lookup };
  }
  if (preparing === undefined) return { kind: 'unknown', why: 'its first events are retired' };
  const { key } = preparing;
  const question = questionIn(events, settings);
  const isUnpack = isUnpackKey(key);
  const isLayer = committed !== undefined || find('SnapshotCommitting') !== undefined;
  if (!isLayer) return { kind: 'no-layer', isUnpack, question };
  return { kind: isUnpack ? 'unpacked' : 'made-here', key, question };
}

function questionIn(events: readonly SnapshotEvent[], settings: SettingsAt | null): RemoteLookup {
  const find = finderIn(events);
  const preparing = find('SnapshotPreparing')?.data;
  const remote = preparing?.remote ?? null;
  const failed = find('RemoteMountFailed')?.data;
  const lookup = lookupIn(remote);
  if (lookup !== null && failed !== undefined) {
    return { kind: 'refused', ...lookup, reason: failed.reason };
  }
  if (remote !== null && 'declined' in remote) {
    return { kind: 'declined', ref: remote.ref, reason: remote.declined };
  }
  if (remote !== null) return { kind: 'no-file-system', target: remote.ref };
  const target = preparing?.labels.get(TARGET_LABEL) ?? null;
  if (target === null) return { kind: 'no-target' };
  if (settings === null || !settings.knowsFileSystem) {
    return { kind: 'unknown', why: 'the log does not record which file system was configured' };
  }
  return settings.fileSystem === null
    ? { kind: 'no-file-system', target }
    : { kind: 'not-asked', target };
}

function lookupIn(remote: RemoteQuestion | null | undefined) {
  if (!remote || 'declined' in remote || remote.fileSystems.length === 0) return null;
  return { ref: remote.ref, fileSystem: remote.fileSystems.join(', ') };
}

/** Returns a function that finds the first event of a type. */
const finderIn =
  (events: readonly SnapshotEvent[]) =>
  <Type extends SnapshotEvent['type']>(type: Type) =>
    events.find((event): event is Extract<SnapshotEvent, { type: Type }> => event.type === type);

/**
 * Whether containerd (core/unpack/unpacker.go, pkg/rootfs/apply.go) or BuildKit (cache/refs.go)
 * created the key to unpack a layer: `extract-<unique> <chain ID>`. The keys of `docker commit` and
 * `nerdctl commit`, which apply a local diff, have a dash instead of the space (moby's
 * daemon/containerd/image_commit.go).
 */
const isUnpackKey = (key: string): boolean =>
  /^extract-\S+ [a-z0-9]+:[0-9a-f]{32,}$/.test(withoutSequence(key));

/** The parents that its events name. */
export function parentIds({ records }: Subject): readonly SnapshotId[] {
  return records.flatMap((record) => {
    const event = eventOf(record);
    return event !== null && 'parent' in event.data && event.data.parent !== null
      ? [event.data.parent.id]
      : [];
  });
}

/** The snapshots with a label value that matches the text, for example the name of an image. */
export async function labelledWith(archive: Archive, text: string): Promise<readonly Subject[]> {
  const ids = new Set<SnapshotId>();
  for await (const batch of archive.read()) {
    for (const record of batch) {
      const id = idOfStream(record.stream);
      if (id !== null && hasLabelValue(record, text)) ids.add(id);
    }
  }
  return livesOf(
    archive,
    [...ids].sort((one, other) => one - other),
  );
}

function hasLabelValue(record: LogRecord, text: string): boolean {
  const event = eventOf(record);
  if (event === null || !('labels' in event.data)) return false;
  const fit = fitOf(text);
  for (const value of event.data.labels.values()) {
    const fits = fit(value);
    // A prefix identifies a digest, such as that of a manifest, but not the name of an image.
    if (fits === 'whole' || (fits !== null && isDigest(value))) return true;
    if (isShortFor(text, value)) return true;
  }
  return false;
}

const isDigest = (value: string): boolean => /^sha256:[0-9a-f]{64}$/.test(value);

/** Docker's short names: `busybox:1` and `library/busybox:1` for `docker.io/library/busybox:1`. */
function isShortFor(text: string, value: string): boolean {
  return text.length > 2 && value.endsWith(`/${text}`);
}

/** The settings in force at the first event of each subject. Reads the daemon's stream once. */
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
