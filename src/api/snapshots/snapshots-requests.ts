/**
 * The request shapes of the snapshots service and its strict definition (strict-requests.ts). A
 * test compares the shapes with the descriptors.
 */
import { SnapshotsService } from '../generated/containerd/services/snapshots/v1/snapshots.js';
import { serializeList } from './list-wire.js';
import {
  shape,
  strictService,
  text,
  type FieldShape,
  type MessageShape,
} from '../grpc/strict-requests.js';

const labels: FieldShape = { name: 'labels', fields: shape([1, text('key')], [2, text('value')]) };
const named = shape([1, text('snapshotter')], [2, text('key')]);
const prepared = shape(...named, [3, text('parent')], [4, labels]);
const time = shape();
const info = shape(
  [1, text('name')],
  [2, text('parent')],
  [4, { name: 'created_at', fields: time }],
  [5, { name: 'updated_at', fields: time }],
  [6, labels],
);

export const requestShapes: Readonly<Record<keyof typeof SnapshotsService, MessageShape>> = {
  prepare: prepared,
  view: prepared,
  mounts: named,
  commit: shape(
    [1, text('snapshotter')],
    [2, text('name')],
    [3, text('key')],
    [4, labels],
    [5, text('parent')],
  ),
  remove: named,
  stat: named,
  update: shape(
    [1, text('snapshotter')],
    [2, { name: 'info', fields: info }],
    [3, { name: 'update_mask', fields: shape([1, text('paths')]) }],
  ),
  list: shape([1, text('snapshotter')], [2, text('filters')]),
  usage: named,
  cleanup: shape([1, text('snapshotter')]),
};

/** Milliseconds until a call fails with DEADLINE_EXCEEDED. */
export interface CallBudgets {
  readonly prepare: number;
  readonly mounts: number;
  readonly commit: number;
  readonly read: number;
}

/** The budget of each method. */
export const budgetNames: Readonly<Record<keyof typeof SnapshotsService, keyof CallBudgets>> = {
  prepare: 'prepare',
  view: 'prepare',
  mounts: 'mounts',
  commit: 'commit',
  remove: 'read',
  stat: 'read',
  update: 'read',
  list: 'read',
  usage: 'read',
  cleanup: 'read',
};

const strict = strictService(SnapshotsService, requestShapes);

/** Handlers must check each request with `unreadable`. */
export const strictSnapshotsService: typeof SnapshotsService = {
  ...strict,
  list: { ...strict.list, responseSerialize: serializeList },
};
