/**
 * Events of the `daemon` stream: what the service itself did or found. They move no snapshot;
 * they are there for the people who ask later.
 */
import * as z from 'zod';
import { lazy } from '../../base/lazy.js';
import { callerSchema, idSchema } from './events.js';

/** Why a directory in use looks like garbage to the log. */
export const SET_ASIDE_REASONS = ['preallocated', 'abandoned', 'unowned'] as const;

const findingSchema = lazy(() =>
  z.object({
    kind: z.string().describe('kind of finding, see docs/recovery.md'),
    subject: z.string().describe('what it is about: a snapshot, a directory, a mount'),
    action: z.string().describe('what is done about it'),
  }),
);

const fileSystemSchema = lazy(() =>
  z.object({
    type: z.string(),
    id: z.string().nullable().describe('lasts as long as the file system; null where it has none'),
    device: z.string().describe('device number, in decimal'),
  }),
);

/** To make a schema takes longer than to use it, and most commands use none of these. */
export const daemonEventSchemas = {
  DaemonStarted: lazy(() =>
    z.object({
      release: z.string(),
      node: z.string().describe('version of Node.js'),
      pid: z.number().int(),
      epoch: z.number().int().describe('epoch of the log from here on'),
      replayed: z.number().int().describe('records folded at start'),
      checkpoint: z.number().int().nullable().describe('position of the checkpoint that was used'),
      settings: z.record(z.string(), z.unknown()).describe('those that change what events mean'),
    }),
  ),
  TailCut: lazy(() =>
    z.object({
      segment: z.string(),
      offset: z.number().int().describe('bytes from the start of the segment'),
      bytes: z.number().int().describe('bytes that were not zero and not a record'),
      savedAs: z.string().describe('where they were copied to'),
    }),
  ),
  RootFileSystemChanged: lazy(() =>
    z.object({
      part: z.enum(['root', 'log', 'snapshots']).describe('the root, or its directory'),
      how: z
        .enum(['same-id', 'assumed', 'accepted'])
        .describe(
          'same-id: only the device number is another one; assumed: it has no id, and the log agrees with the directories; accepted: the operator said so',
        ),
      before: fileSystemSchema().nullable().describe("null: an ordinary directory of the root's"),
      after: fileSystemSchema().nullable().describe('the same'),
    }),
  ),
  ClockStepped: lazy(() =>
    z.object({
      byMillis: z.number().int().describe('milliseconds; above zero it was set ahead, below back'),
      expected: z
        .string()
        .describe('RFC 3339: what it would have shown; at a start, the time of the newest record'),
      found: z.string().describe('RFC 3339: what it showed'),
    }),
  ),
  RecoveryPlanned: lazy(() =>
    z.object({
      adopted: z.number().int().describe('remote layers whose mounts were right as they stood'),
      findings: z.array(findingSchema()),
      omitted: z.number().int().describe('findings beyond those listed'),
    }),
  ),
  DirectoriesPreallocated: lazy(() =>
    z.object({
      ids: z.array(idSchema).describe('their directories are made next'),
    }),
  ),
  PreallocatedReleased: lazy(() =>
    z.object({
      ids: z.array(idSchema).describe('not used; their directories do not exist'),
    }),
  ),
  DirectoryRecreated: lazy(() => z.object({ id: z.number().int(), path: z.string() })),
  OrphanFound: lazy(() => z.object({ name: z.string(), path: z.string() })),
  OrphanRemoved: lazy(() => z.object({ name: z.string(), path: z.string() })),
  DirectoriesCollected: lazy(() =>
    z.object({
      collected: z.number().int().describe('snapshots whose directories were asked to go'),
      orphans: z.number().int(),
      replayedTo: z.number().int().describe('position up to which the log was folded'),
    }),
  ),
  CheckpointTaken: lazy(() =>
    z.object({ position: z.number().int(), snapshots: z.number().int() }),
  ),
  SegmentChecked: lazy(() =>
    z.object({
      from: z.number().int().nonnegative().describe('its first position'),
      to: z.number().int().nonnegative().describe('the first position behind it'),
      bytes: z.number().int().describe('from its first record to behind its last'),
      sha256: z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .describe('of these bytes, in hex'),
    }),
  ),
  SegmentsRetired: lazy(() =>
    z.object({ before: z.number().int(), segments: z.array(z.string()) }),
  ),
  LogRepaired: lazy(() =>
    z.object({
      release: z.string(),
      findings: z.array(
        z.object({
          kind: z.string().describe('kind of finding, see docs/recovery.md'),
          place: z.string().describe('file, offset and position'),
          detail: z.string(),
        }),
      ),
      omitted: z.number().int().describe('findings beyond those listed'),
      steps: z.array(z.string()).describe('what was done, one sentence each'),
      quarantine: z.string().describe('directory below log/ that holds what was taken out'),
      files: z.array(z.string()).describe('what was put there'),
      history: z
        .object({ from: z.number().int(), to: z.number().int() })
        .nullable()
        .describe(
          'positions before a checkpoint whose records are gone; no snapshot depends on them',
        ),
      lost: z
        .object({
          from: z.number().int(),
          to: z.number().int(),
          readable: z.number().int().describe('of these, records that are whole in the quarantine'),
        })
        .nullable()
        .describe('positions whose events do not count any more'),
      epochBefore: z.number().int().nullable().describe('null when no epoch was known'),
      epoch: z.number().int(),
      replaces: z
        .string()
        .nullable()
        .describe('UUID of the log that was given up, when this is a new one'),
      kept: z.array(idSchema).describe('directories that belong to lost snapshots: set aside'),
      nextId: idSchema.describe('no id below it is given again'),
    }),
  ),
  DirectoriesSetAside: lazy(() =>
    z.object({
      directories: z.array(
        z.object({
          name: z.string().describe('entry in snapshots/'),
          because: z
            .enum(SET_ASIDE_REASONS)
            .describe('what the log has of it: nothing but this would call it garbage'),
          evidence: z.string().describe('what shows that it is in use'),
        }),
      ),
    }),
  ),
  DirectoriesReleased: lazy(() =>
    z.object({
      names: z.array(z.string()).describe('entries in snapshots/ that were set aside'),
      because: z
        .enum(['requested', 'gone', 'salvaged'])
        .describe(
          'requested: a person named them, and they are deleted with their content; gone: they do not exist any more; salvaged: a repair took them in as snapshots',
        ),
      caller: callerSchema.optional(),
    }),
  ),
  DaemonStopped: lazy(() => z.object({ why: z.string() })),
} as const;

export type DaemonEventType = keyof typeof daemonEventSchemas;
export type DaemonEventData<Type extends DaemonEventType> = z.output<
  ReturnType<(typeof daemonEventSchemas)[Type]>
>;
export interface DaemonEventOf<Type extends DaemonEventType> {
  readonly type: Type;
  readonly data: DaemonEventData<Type>;
}
export type DaemonEvent = { [Type in DaemonEventType]: DaemonEventOf<Type> }[DaemonEventType];

export const DAEMON_STREAM = 'daemon';

export const DAEMON_EVENTS: {
  readonly [Type in DaemonEventType]: { readonly version: number; readonly meaning: string };
} = {
  DaemonStarted: { version: 1, meaning: 'the log is open and replayed' },
  TailCut: { version: 1, meaning: 'unfinished bytes after the last good record were set aside' },
  RootFileSystemChanged: {
    version: 1,
    meaning: 'the root, or a mount in it, has another device number or is on another file system',
  },
  ClockStepped: {
    version: 1,
    meaning: 'the wall clock was set; times before and after cannot be compared',
  },
  RecoveryPlanned: { version: 1, meaning: 'what differs from the log at start, and what is done' },
  DirectoriesPreallocated: {
    version: 1,
    meaning: 'ids are reserved for directories that are made in advance',
  },
  PreallocatedReleased: { version: 1, meaning: 'directories made ahead were not needed' },
  DirectoryRecreated: {
    version: 1,
    meaning: 'a lost directory of an active snapshot was made anew',
  },
  OrphanFound: { version: 1, meaning: 'something in snapshots/ that no snapshot owns' },
  OrphanRemoved: { version: 1, meaning: 'it was deleted' },
  DirectoriesCollected: { version: 1, meaning: 'Cleanup decided from the folded log' },
  CheckpointTaken: { version: 1, meaning: 'a later start needs to replay only from here' },
  SegmentChecked: {
    version: 1,
    meaning: 'a full segment was read again, and every record in it is sound',
  },
  SegmentsRetired: { version: 1, meaning: 'old segments below a checkpoint were dropped' },
  LogRepaired: {
    version: 1,
    meaning: 'the log was damaged, and was repaired by a person: what was lost and what was kept',
  },
  DirectoriesSetAside: {
    version: 1,
    meaning:
      'directories that the log would call garbage are in use: kept until a person names them',
  },
  DirectoriesReleased: { version: 1, meaning: 'directories are not set aside any more' },
  DaemonStopped: { version: 1, meaning: 'an orderly stop; mounts are left alone' },
};

export function isDaemonEventType(type: string): type is DaemonEventType {
  return Object.hasOwn(DAEMON_EVENTS, type);
}

/** Throws a ZodError that names the field when the body is not of the schema. */
export function decodeDaemonEvent(type: DaemonEventType, body: unknown): DaemonEvent {
  return { type, data: daemonEventSchemas[type]().parse(body) } as DaemonEvent;
}
