/**
 * A client of snapshots.v1 that keeps three outcomes apart: an answer, a refusal, and no answer
 * at all. After a kill the last one is the interesting one: the call may or may not have happened.
 */
import { Client, credentials, status, type ServiceError } from '@grpc/grpc-js';
import {
  Kind,
  SnapshotsService as service,
  type Info as WireInfo,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import type { Mount } from '../../src/api/generated/containerd/types/mount.js';
import type { Timestamp } from '../../src/api/generated/google/protobuf/timestamp.js';

export type Answer<Value> =
  | { readonly kind: 'answered'; readonly value: Value }
  | { readonly kind: 'refused'; readonly code: status; readonly message: string }
  | { readonly kind: 'unanswered'; readonly message: string };

export interface SnapshotInfo {
  readonly name: string;
  readonly parent: string;
  readonly kind: 'active' | 'view' | 'committed';
  readonly labels: ReadonlyMap<string, string>;
  /** Nanoseconds since 1970. */
  readonly created: bigint;
  readonly updated: bigint;
}

interface Method<Request, Reply> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Reply;
}

const callMillisMax = 20_000;
/** What grpc-js makes of a connection that broke. */
const connectionLost = new Set<status>([status.UNAVAILABLE, status.CANCELLED]);

export class SnapshotsClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      // Each client a connection of its own, as processes would have.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_channelz': 0,
    });
  }

  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(Date.now() + callMillisMax, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
  }

  close(): void {
    this.#client.close();
  }

  prepare(key: string, parent: string, labels: ReadonlyMap<string, string>) {
    const request = { snapshotter: '', key, parent, labels: new Map(labels) };
    return this.#ask(service.prepare, request, ({ mounts }) => mountsText(mounts));
  }

  view(key: string, parent: string, labels: ReadonlyMap<string, string>) {
    const request = { snapshotter: '', key, parent, labels: new Map(labels) };
    return this.#ask(service.view, request, ({ mounts }) => mountsText(mounts));
  }

  mounts(key: string): Promise<Answer<string>> {
    return this.#ask(service.mounts, { snapshotter: '', key }, ({ mounts }) => mountsText(mounts));
  }

  commit(key: string, name: string, labels: ReadonlyMap<string, string>): Promise<Answer<void>> {
    const request = { snapshotter: '', key, name, labels: new Map(labels), parent: '' };
    return this.#ask(service.commit, request, () => undefined);
  }

  remove(key: string): Promise<Answer<void>> {
    return this.#ask(service.remove, { snapshotter: '', key }, () => undefined);
  }

  stat(key: string): Promise<Answer<SnapshotInfo>> {
    return this.#ask(service.stat, { snapshotter: '', key }, ({ info }) => toInfo(info));
  }

  update(
    name: string,
    labels: ReadonlyMap<string, string>,
    paths: readonly string[],
  ): Promise<Answer<SnapshotInfo>> {
    const info = {
      name,
      parent: '',
      kind: Kind.UNKNOWN,
      createdAt: undefined,
      updatedAt: undefined,
      labels: new Map(labels),
    };
    const request = { snapshotter: '', info, updateMask: [...paths] };
    return this.#ask(service.update, request, (reply) => toInfo(reply.info));
  }

  usage(key: string): Promise<Answer<string>> {
    return this.#ask(
      service.usage,
      { snapshotter: '', key },
      ({ size, inodes }) => `${size} bytes in ${inodes} inodes`,
    );
  }

  cleanup(): Promise<Answer<void>> {
    return this.#ask(service.cleanup, { snapshotter: '' }, () => undefined);
  }

  /** All snapshots. Rejects when the stream does not end well. */
  list(): Promise<SnapshotInfo[]> {
    const { path, requestSerialize, responseDeserialize } = service.list;
    const request = { snapshotter: '', filters: [] };
    const stream = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      { deadline: Date.now() + callMillisMax },
    );
    return new Promise((resolve, reject) => {
      const infos: SnapshotInfo[] = [];
      stream.on('data', (message: { readonly info: readonly WireInfo[] }) => {
        infos.push(...message.info.map(toInfo));
      });
      stream.once('error', reject);
      stream.once('end', () => resolve(infos));
    });
  }

  #ask<Request, Reply, Value>(
    method: Method<Request, Reply>,
    request: Request,
    read: (reply: Reply) => Value,
  ): Promise<Answer<Value>> {
    const options = { deadline: Date.now() + callMillisMax };
    return new Promise((resolve) => {
      const answered = (error: ServiceError | null, reply?: Reply) => {
        if (error !== null) {
          const { code, message } = error;
          const kind = connectionLost.has(code) ? 'unanswered' : 'refused';
          resolve({ kind, code, message });
        } else if (reply === undefined) {
          resolve({ kind: 'refused', code: status.INTERNAL, message: 'neither error nor reply' });
        } else {
          resolve({ kind: 'answered', value: read(reply) });
        }
      };
      this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        options,
        answered,
      );
    });
  }
}

/** Mounts as one text, so that two can be compared and shown. */
function mountsText(mounts: readonly Mount[]): string {
  return mounts.map(({ type, source, options }) => [type, source, ...options].join(' ')).join('; ');
}

const kinds: Readonly<Partial<Record<Kind, SnapshotInfo['kind']>>> = {
  [Kind.ACTIVE]: 'active',
  [Kind.VIEW]: 'view',
  [Kind.COMMITTED]: 'committed',
};

function toInfo(info: WireInfo | undefined): SnapshotInfo {
  const kind = info === undefined ? undefined : kinds[info.kind];
  if (info === undefined || kind === undefined) throw new Error('a reply without a sound info');
  return {
    name: info.name,
    parent: info.parent,
    kind,
    labels: info.labels,
    created: nanosOf(info.createdAt),
    updated: nanosOf(info.updatedAt),
  };
}

function nanosOf(time: Timestamp | undefined): bigint {
  if (time === undefined) throw new Error('an info without its times');
  return time.seconds * 1_000_000_000n + BigInt(time.nanos);
}
