/**
 * containerd.services.snapshots.v1: converts requests and replies; all decisions are made in the
 * snapshotter. Every call has a budget, because containerd sets no deadline, and ends when its
 * client disconnects.
 */
import type { handleUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { once } from 'node:events';
import { setImmediate as breathe } from 'node:timers/promises';
import { InvariantBroken } from '../../base/assert.js';
import type { Result } from '../../base/result.js';
import { snapshotName, type SnapshotName } from '../../base/units.js';
import type { Caller } from '../../machines/events/events.js';
import type { SnapshotInfo } from '../../machines/snapshots/info.js';
import type { Refusal } from '../../machines/refusals.js';
import type { MountSpec } from '../../snapshotter/mounts.js';
import type { Snapshotter } from '../../snapshotter/snapshotter.js';
import { CallContext, abortReasonOr } from '../grpc/call-context.js';
import type {
  CommitSnapshotRequest,
  Info,
  ListSnapshotsRequest,
  ListSnapshotsResponse,
  SnapshotsServer,
  UpdateSnapshotRequest,
} from '../generated/containerd/services/snapshots/v1/snapshots.js';
import { requestedDeletions } from './deletion-request.js';
import { budgetNames, type CallBudgets } from './snapshots-requests.js';
import {
  BudgetExceeded,
  statusOfRefusal,
  statusOfThrown,
  statusOfUnreadable,
} from '../grpc/status.js';
import { unreadable } from '../grpc/strict-requests.js';
import { infoBytesMax, toInfo, toMounts } from './wire.js';

export interface SnapshotsServiceOptions {
  readonly snapshotter: Snapshotter;
  readonly budgets: CallBudgets;
  /** Called when a call fails with a broken invariant. */
  readonly onFatal: (thrown: unknown) => void;
}

/** Per message, as in containerd's own servers. Its clients receive at most 16 MiB. */
const LIST_INFOS_MAX = 100;
const LIST_BYTES_MAX = 1 << 20;

export function snapshotsService(options: SnapshotsServiceOptions): SnapshotsServer {
  const { snapshotter, budgets } = options;
  return {
    ...preparingMethods(options),
    ...namedMethods(options),
    cleanup: unary(options, 'cleanup', (_request, call) => cleanUp(snapshotter, call), toEmpty),
    list: (call) => {
      void sendList(snapshotter, call, budgets[budgetNames.list]);
    },
  };
}

/** The methods that return mounts. */
function preparingMethods(
  options: SnapshotsServiceOptions,
): Pick<SnapshotsServer, 'prepare' | 'view' | 'mounts'> {
  const { snapshotter } = options;
  return {
    prepare: unary(
      options,
      'prepare',
      (request, call) => snapshotter.prepare(prepareRequest(request, call.caller), call.signal),
      toMountsReply,
    ),
    view: unary(
      options,
      'view',
      (request, call) => snapshotter.view(prepareRequest(request, call.caller), call.signal),
      toMountsReply,
    ),
    mounts: unary(
      options,
      'mounts',
      (request, call) => snapshotter.mounts(snapshotName(request.key), call.caller, call.signal),
      toMountsReply,
    ),
  };
}

/** The methods on an existing snapshot. */
function namedMethods(
  options: SnapshotsServiceOptions,
): Pick<SnapshotsServer, 'commit' | 'remove' | 'stat' | 'update' | 'usage'> {
  const { snapshotter } = options;
  return {
    commit: unary(
      options,
      'commit',
      (request, call) => snapshotter.commit(commitRequest(request, call.caller), call.signal),
      toEmpty,
    ),
    remove: unary(
      options,
      'remove',
      (request, call) => call.within(snapshotter.remove(snapshotName(request.key), call.caller)),
      toEmpty,
    ),
    stat: unary(
      options,
      'stat',
      (request) => Promise.resolve(snapshotter.stat(snapshotName(request.key))),
      toInfoReply,
    ),
    update: unary(
      options,
      'update',
      (request, call) => call.within(snapshotter.update(updateRequest(request, call.caller))),
      toInfoReply,
    ),
    usage: unary(
      options,
      'usage',
      (request, call) => snapshotter.usage(snapshotName(request.key), call.signal),
      ({ size, inodes }) => ({ size: BigInt(size), inodes: BigInt(inodes) }),
    ),
  };
}

function unary<Request, Value, Reply>(
  options: SnapshotsServiceOptions,
  method: Exclude<keyof typeof budgetNames, 'list'>,
  answer: (request: Request, call: CallContext) => Promise<Result<Value, Refusal>>,
  toReply: (value: Value) => Reply,
): handleUnaryCall<Request, Reply> {
  const methodName = `${method.charAt(0).toUpperCase()}${method.slice(1)}`;
  return (call, callback) => {
    const fault = unreadable(call.request);
    if (fault !== null) {
      callback(statusOfUnreadable(fault));
      return;
    }
    const context = new CallContext(call, methodName, options.budgets[budgetNames[method]]);
    void answer(call.request, context).then(
      (result) => {
        context.end();
        if (result.ok) callback(null, toReply(result.value));
        else callback(statusOfRefusal(result.refusal));
      },
      (thrown: unknown) => {
        context.end();
        if (thrown instanceof InvariantBroken) options.onFatal(thrown);
        callback(statusOfThrown(thrown));
      },
    );
  };
}

const toMountsReply = (mounts: readonly MountSpec[]) => ({ mounts: toMounts(mounts) });
const toInfoReply = (info: SnapshotInfo) => ({ info: toInfo(info) });
const toEmpty = () => ({});

/**
 * Succeeds when the budget is exceeded, because containerd's GC waits for Cleanup. The collection
 * continues in the background; no snapshot uses the directories any more.
 */
async function cleanUp(
  snapshotter: Snapshotter,
  call: CallContext,
): Promise<Result<void, Refusal>> {
  try {
    const names = requestedDeletions(call.metadata);
    const { signal, caller } = call;
    return await snapshotter.cleanup(signal, names.length === 0 ? null : { names, caller });
  } catch (thrown) {
    if (!(thrown instanceof BudgetExceeded)) throw thrown;
  }
  return { ok: true, value: undefined };
}

async function sendList(
  snapshotter: Snapshotter,
  call: ServerWritableStream<ListSnapshotsRequest, ListSnapshotsResponse>,
  budgetMillis: number,
): Promise<void> {
  const fault = unreadable(call.request);
  if (fault !== null) {
    call.emit('error', statusOfUnreadable(fault));
    return;
  }
  const context = new CallContext(call, 'List', budgetMillis);
  try {
    const listed = snapshotter.listInSlices(call.request.filters);
    if (!listed.ok) {
      call.emit('error', statusOfRefusal(listed.refusal));
      return;
    }
    for (const slice of listed.value) {
      context.signal.throwIfAborted();
      // Yields to other calls even if the filters match nothing.
      if (slice.length === 0) await breathe();
      for (const info of inMessages(slice)) {
        context.signal.throwIfAborted();
        if (!call.write({ info })) await once(call, 'drain', { signal: context.signal });
        // Yields to other calls between messages.
        else await breathe();
      }
    }
    call.end();
  } catch (thrown) {
    if (!call.cancelled) call.emit('error', statusOfThrown(abortReasonOr(thrown, context.signal)));
  } finally {
    context.end();
  }
}

function* inMessages(infos: Iterable<SnapshotInfo>): Iterable<Info[]> {
  let message: Info[] = [];
  let bytes = 0;
  for (const info of infos) {
    const added = infoBytesMax(info);
    if (message.length === LIST_INFOS_MAX || (bytes + added > LIST_BYTES_MAX && bytes > 0)) {
      yield message;
      message = [];
      bytes = 0;
    }
    message.push(toInfo(info));
    bytes += added;
  }
  if (message.length > 0) yield message;
}

interface PrepareMessage {
  readonly key: string;
  readonly parent: string;
  readonly labels: Map<string, string>;
}

function prepareRequest(request: PrepareMessage, caller: Caller) {
  return {
    key: snapshotName(request.key),
    parent: parentName(request.parent),
    labels: request.labels,
    caller,
  };
}

function commitRequest(request: CommitSnapshotRequest, caller: Caller) {
  return {
    key: snapshotName(request.key),
    name: snapshotName(request.name),
    parent: parentName(request.parent),
    labels: request.labels,
    caller,
  };
}

/** Ignores kind, parent and times: containerd's proxy.go always sets them. */
function updateRequest({ info, updateMask }: UpdateSnapshotRequest, caller: Caller) {
  return {
    name: snapshotName(info?.name ?? ''),
    labels: info?.labels ?? new Map<string, string>(),
    paths: updateMask ?? [],
    caller,
  };
}

/** proto3 has no absent string: an empty name means no parent. */
function parentName(parent: string): SnapshotName | null {
  return parent === '' ? null : snapshotName(parent);
}
