/**
 * Every event of a snapshot's stream: its schema, its version, and how it becomes JSON and back.
 *
 * Names are past tense and frozen once released. A change of shape raises the version in
 * `SNAPSHOT_EVENTS` and adds an upcaster (upcasters.ts); nothing here is ever edited in place.
 * docs/reference/events.md is generated from the descriptions below.
 */
import * as z from 'zod';
import { lazy } from '../../base/lazy.js';
import { snapshotId, snapshotName, type Labels } from '../../base/units.js';

const idSchema = z
  .number()
  .int()
  .positive()
  .transform(snapshotId)
  .describe('number of the snapshot: its directory and its stream');

const nameSchema = z.string().min(1).transform(snapshotName);

/**
 * A JSON object of strings as a Map. Not `z.record`: that would drop a label named `__proto__`,
 * and label names are chosen by strangers.
 */
const labelsSchema = z
  .custom<Readonly<Record<string, string>>>(isStringRecord, 'labels must be an object of strings')
  .transform((record): Labels => new Map(Object.entries(record)))
  .describe('labels as stored: no empty values, no credentials');

const usageSchema = z.object({
  size: z.number().int().nonnegative().describe('bytes in allocated blocks'),
  inodes: z.number().int().nonnegative().describe('distinct inodes'),
});

export const callerSchema = z
  .object({
    namespace: z.string().optional().describe('first containerd-namespace header'),
    lease: z.string().optional().describe('containerd-lease header'),
    traceparent: z.string().optional().describe('W3C trace context'),
    pid: z.number().int().optional().describe('process at the other end of the socket'),
    uid: z.number().int().optional().describe('its user'),
    startedAt: z
      .string()
      .optional()
      .describe('when it was started: eight digits of the boot id, and clock ticks since boot'),
    program: z
      .string()
      .optional()
      .describe('its name, and eight digits of the SHA-256 of its command line'),
  })
  .describe('who asked, as far as the call tells');

const parentSchema = z
  .object({ id: idSchema, name: nameSchema })
  .describe('the committed snapshot below');

const idMappingSchema = z
  .object({
    uids: z
      .string()
      .describe('`<container id>:<host id>:<size>`, comma-separated, in rising order'),
    gids: z.string().describe('the same for groups'),
    appliedBy: z
      .enum(['client', 'snapshotter'])
      .describe(
        'client: it has chowned the layers below; snapshotter: they are mounted with mapped ids',
      ),
  })
  .describe('ids of the user namespace it was prepared for');

const ownerSchema = z
  .object({ uid: z.number().int().nonnegative(), gid: z.number().int().nonnegative() })
  .describe('of the root directory of the layer');

const reasonSchema = z.string().describe('one sentence for a person');

const remoteQuestionSchema = z
  .union([
    z.object({
      ref: z.string().describe('chain id of the layer'),
      fileSystems: z
        .array(z.string())
        .describe('implementations to ask, in this order; empty: none is configured'),
    }),
    z.object({
      ref: z.string(),
      declined: z.string().describe('why none is asked: an ordinary snapshot is given'),
    }),
  ])
  .describe('remote layer that may serve instead of an ordinary snapshot');

/** What kinds of errors an effect ends with. */
export const FAULT_KINDS = [
  'HostFault',
  'TimeLimitPassed',
  'NotBegun',
  'IdsNotMappable',
  'LayerNotVisible',
  'CallerLeft',
  'InvariantBroken',
  'Error',
] as const;

const faultSchema = z
  .object({
    kind: z
      .enum(FAULT_KINDS)
      .describe('the error that the client received; HostFault: a system call failed'),
    errno: z.string().optional().describe('name of the errno of a HostFault'),
  })
  .describe('error behind the reason; null when no client waited any more');

/** Most events are understood without (quick-decode.ts), and to make a schema takes time. */
export const snapshotEventSchemas = {
  SnapshotPreparing: lazy(() =>
    z.object({
      id: idSchema,
      kind: z.enum(['active', 'view']),
      key: nameSchema.describe('what the client calls it'),
      parent: parentSchema.nullable(),
      labels: labelsSchema,
      remote: remoteQuestionSchema.nullable(),
      idMapping: idMappingSchema.nullable(),
      caller: callerSchema,
    }),
  ),
  IdMappingStarted: lazy(() => z.object({})),
  SnapshotPrepared: lazy(() => z.object({})),
  RemoteMountStarted: lazy(() => z.object({})),
  RemoteMounted: lazy(() =>
    z.object({ fileSystem: z.string().describe('implementation that has mounted the layer') }),
  ),
  RemoteMountFailed: lazy(() => z.object({ reason: reasonSchema })),
  SnapshotCommitting: lazy(() =>
    z.object({
      name: nameSchema,
      labels: labelsSchema,
      parent: parentSchema.nullable().describe('given when a parentless snapshot is rebased'),
      caller: callerSchema,
    }),
  ),
  SnapshotCommitFailed: lazy(() =>
    z.object({ reason: reasonSchema, fault: faultSchema.nullable() }),
  ),
  SnapshotCommitted: lazy(() =>
    z.object({
      name: nameSchema,
      labels: labelsSchema,
      usage: usageSchema,
      owner: ownerSchema,
      parent: parentSchema.nullable(),
      remote: z
        .object({ ref: z.string(), fileSystem: z.string() })
        .nullable()
        .describe('where the layer comes from when it is not in our own directory'),
      durability: z
        .enum(['data', 'metadata'])
        .describe('whether file contents were made durable before this event'),
    }),
  ),
  LabelsUpdated: lazy(() => z.object({ labels: labelsSchema, caller: callerSchema })),
  LayerUnavailable: lazy(() =>
    z.object({
      reason: reasonSchema,
      attempts: z.number().int().nonnegative().describe('tries to restore it so far'),
      retryAt: z
        .string()
        .nullable()
        .describe('RFC 3339; null when only a person or a use can help'),
    }),
  ),
  LayerAvailable: lazy(() =>
    z.object({
      how: z.enum(['mounted', 'checked']).describe('what made it usable again'),
    }),
  ),
  SnapshotRemoving: lazy(() =>
    z.object({
      deferred: z.boolean().describe('true: Cleanup collects the directory later'),
      caller: callerSchema,
    }),
  ),
  SnapshotCollecting: lazy(() => z.object({})),
  SnapshotRemoved: lazy(() => z.object({})),
  SnapshotAbandoned: lazy(() =>
    z.object({
      reason: reasonSchema,
      fault: faultSchema.nullable(),
      inferred: z
        .boolean()
        .describe(
          'true: concluded after a crash, so its directory is deleted only if unused; false: the daemon itself gave the preparation up',
        ),
    }),
  ),
  SnapshotRemovalFailed: lazy(() =>
    z.object({
      path: z.string().describe('what could not be deleted or unmounted'),
      code: z.string().describe('errno, or the name of the error'),
      reason: reasonSchema,
    }),
  ),
  SnapshotSalvaged: lazy(() =>
    z.object({
      id: idSchema,
      name: nameSchema.describe('made up by the repair; what the client called it is lost'),
      labels: labelsSchema,
      usage: usageSchema.describe('as measured by the repair'),
      owner: ownerSchema,
      looked: z
        .enum(['committed', 'active', 'empty'])
        .describe(
          'active: a mount writes to it; empty: nothing is in it; what it was cannot be known',
        ),
      reason: reasonSchema,
    }),
  ),
} as const;

export type SnapshotEventType = keyof typeof snapshotEventSchemas;
export type SnapshotEventData<Type extends SnapshotEventType> = z.output<
  ReturnType<(typeof snapshotEventSchemas)[Type]>
>;

export type SnapshotEventOf<Type extends SnapshotEventType> = {
  readonly type: Type;
  readonly data: SnapshotEventData<Type>;
};

/** What happened to a snapshot, without where and when it stands in the log. */
export type SnapshotEvent = {
  [Type in SnapshotEventType]: SnapshotEventOf<Type>;
}[SnapshotEventType];

export type Caller = z.output<typeof callerSchema>;
export type ParentLink = z.output<typeof parentSchema>;
export type RemoteQuestion = z.output<typeof remoteQuestionSchema>;
export type Fault = z.output<typeof faultSchema>;

/** One line each for docs/reference/events.md, with the version that is written today. */
export const SNAPSHOT_EVENTS: {
  readonly [Type in SnapshotEventType]: { readonly version: number; readonly meaning: string };
} = {
  SnapshotPreparing: {
    version: 1,
    meaning: 'Prepare or View was requested; it is not acknowledged yet',
  },
  IdMappingStarted: { version: 1, meaning: 'the layers below are mounted with mapped ids' },
  SnapshotPrepared: {
    version: 1,
    meaning: 'its directories exist; the client receives its mounts',
  },
  RemoteMountStarted: {
    version: 1,
    meaning: 'the remote file systems are asked for the layer that SnapshotPreparing names',
  },
  RemoteMounted: { version: 1, meaning: 'the layer is visible at its mountpoint' },
  RemoteMountFailed: {
    version: 1,
    meaning: 'the layer is not to be had; an ordinary snapshot is given',
  },
  SnapshotCommitting: {
    version: 1,
    meaning: 'Commit was asked for; usage is measured, data flushed',
  },
  SnapshotCommitFailed: { version: 1, meaning: 'Commit could not be carried out; still active' },
  SnapshotCommitted: {
    version: 1,
    meaning: 'a layer for others to stand on, under its final name',
  },
  LabelsUpdated: { version: 1, meaning: 'all labels from now on' },
  LayerUnavailable: { version: 1, meaning: 'the layer cannot be used now; tried again later' },
  LayerAvailable: { version: 1, meaning: 'the layer can be used' },
  SnapshotRemoving: { version: 1, meaning: 'Remove was asked for; the name is free' },
  SnapshotCollecting: { version: 1, meaning: 'Cleanup decided that its directory goes now' },
  SnapshotRemovalFailed: {
    version: 1,
    meaning:
      'its directory cannot be deleted; tried again, and recorded again when the error changes',
  },
  SnapshotRemoved: {
    version: 1,
    meaning: 'its directory is deleted, or set aside (DirectoriesSetAside)',
  },
  SnapshotAbandoned: {
    version: 1,
    meaning: 'the preparation was abandoned; no client received the snapshot',
  },
  SnapshotSalvaged: {
    version: 1,
    meaning: 'a directory without a history was taken in as an unverified layer by a repair',
  },
};

/** Whether it is the last of its stream: the number of its snapshot is never used again. */
export const endsLife = (event: SnapshotEvent): boolean => event.type === 'SnapshotRemoved';

export function isSnapshotEventType(type: string): type is SnapshotEventType {
  return Object.hasOwn(snapshotEventSchemas, type);
}

/** The JSON body of an event: labels as an object, everything else as it is. */
export function encodeSnapshotEvent(event: SnapshotEvent): Readonly<Record<string, unknown>> {
  const data: Readonly<Record<string, unknown>> = event.data;
  const labels = data['labels'];
  // fromEntries defines properties, so a label named __proto__ becomes an ordinary one.
  return labels instanceof Map ? { ...data, labels: Object.fromEntries(labels) } : data;
}

function isStringRecord(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((entry) => typeof entry === 'string');
}

export { idSchema };
