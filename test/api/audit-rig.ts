/** A real log behind a real audit service on a real socket, and a way to cut its connections. */
import { randomUUID } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import type { Disk, DiskFile } from '../../src/base/ports.js';
import { streamVersion } from '../../src/base/units.js';
import { AuditArchive } from '../../src/api/audit/client/remote-archive.js';
import { auditService, type Audit } from '../../src/api/audit/audit-service.js';
import type { AuditOptions } from '../../src/api/audit/audit-service.js';
import { queriesOn } from '../../src/api/audit/audit-queries.js';
import { auditSubscriptions, strictAuditService } from '../../src/api/audit/audit-requests.js';
import { AuditClient } from '../../src/api/generated/stratalog/audit/v1/audit.js';
import { auditServiceName, Health } from '../../src/api/grpc/health.js';
import { startServer, type RunningServer, type ServerOptions } from '../../src/api/grpc/server.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import { openLog } from '../../src/log/log.js';
import type { EventLog, LogRecord } from '../../src/log/types.js';
import {
  committed,
  committing,
  preparing,
  prepared,
  removing,
  type TestEvent,
} from '../cli/rig.js';
import { aDirectory, later } from './rig.js';

export interface ServedAudit {
  readonly path: string;
  readonly audit: Audit;
  readonly server: RunningServer;
  readonly archive: () => AuditArchive;
  readonly client: () => AuditClient;
  /** Events that have left so far. */
  readonly sent: () => number;
}

type Served = Pick<AuditOptions, 'log' | 'archive'> & Partial<AuditOptions>;
type Callers = Pick<ServerOptions, 'callerOf'>;

/** Serves an audit service; what is not said of it is generous. */
export async function serveAudit(
  { callerOf, ...options }: Served & Callers,
  address?: string,
): Promise<ServedAudit> {
  const path = address ?? join(await aDirectory(), 'stratalog.sock');
  let sent = 0;
  const audit = auditService({
    queries: queriesOn(new RootArchive(systemDisk(), '/nowhere')),
    callsMax: 64,
    budgetMillis: 60_000,
    onSent: (events) => {
      sent += events;
    },
    ...options,
  });
  const registration = {
    definition: strictAuditService,
    implementation: audit.service,
    subscriptions: auditSubscriptions,
  };
  const health = new Health([auditServiceName]);
  const server = await startServer({
    target: { path },
    services: [registration],
    health,
    ...(callerOf === undefined ? {} : { callerOf }),
  });
  later(() => server.stop(0));
  return {
    path,
    audit,
    server,
    archive: () => closing(new AuditArchive(path)),
    client: () => closing(new AuditClient(`unix:${path}`, credentials.createInsecure())),
    sent: () => sent,
  };
}

export function closing<Client extends { close(): void }>(client: Client): Client {
  later(() => client.close());
  return client;
}

export interface LoggedAudit extends ServedAudit {
  readonly root: string;
  readonly log: EventLog;
  readonly files: RootArchive;
  /** Durable when it resolves, in one sync group. */
  append(...events: readonly TestEvent[]): Promise<void>;
  /** The same, answered at once. */
  begin(...events: readonly TestEvent[]): Promise<void>;
}

/** A new log, open for appending, and its audit service. */
export async function aLog(
  options: Partial<AuditOptions> & Callers & { readonly disk?: Disk } = {},
): Promise<LoggedAudit> {
  const { disk = systemDisk(), ...more } = options;
  const root = join(await aDirectory(), 'root');
  const { log } = await openLog({
    root,
    disk,
    clock: systemClock(),
    uuid: randomUUID,
    writtenBy: 'stratalog 0.1.0',
    segmentBytes: 64 * 1024,
    onCheckpoint: () => Promise.resolve(),
    onRecords: () => undefined,
    onWarning: () => undefined,
  });
  later(() => log.close());
  const files = new RootArchive(disk, root);
  const served = await serveAudit({ log, archive: files, queries: queriesOn(files), ...more });
  const versions = new Map<string, number>();
  const begin = async (...events: readonly TestEvent[]): Promise<void> => {
    const numbered = events.map(({ stream, type, data = {}, schemaVersion = 1 }) => {
      const version = versions.get(stream) ?? 0;
      versions.set(stream, version + 1);
      return { stream, expectedVersion: streamVersion(version), type, schemaVersion, data };
    });
    await log.append(numbered, { sync: true }).durable;
  };
  return { ...served, root, log, files, append: begin, begin };
}

/** Six events of one snapshot, from its Prepare to its end. */
export function lifeOf(id: number, key = `default/${id}/key-${id}`): TestEvent[] {
  const name = `sha256:${String(id).padStart(64, '0')}`;
  return [
    preparing(id, key, { labels: { 'containerd.io/gc.root': 'yes' } }),
    prepared(id),
    committing(id, name),
    committed(id, name),
    removing(id),
    { stream: `snapshot-${id}`, type: 'SnapshotRemoved' },
  ];
}

export async function allOf(batches: AsyncIterable<readonly LogRecord[]>): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const batch of batches) records.push(...batch);
  return records;
}

/** A disk whose durable writes reach the file at once, and resolve when they are let. */
export class WithholdingDisk {
  #gate: Promise<void> | null = null;
  #open: () => void = () => undefined;

  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  release(): void {
    this.#gate = null;
    this.#open();
  }

  over(disk: Disk): Disk {
    const held = (file: DiskFile): DiskFile => ({
      path: file.path,
      size: () => file.size(),
      read: (into, offset) => file.read(into, offset),
      write: (bytes, offset) => file.write(bytes, offset),
      writeDurably: async (bytes, offset) => {
        await file.writeDurably(bytes, offset);
        await this.#gate;
      },
      sync: () => file.sync(),
      truncate: (size) => file.truncate(size),
      close: () => file.close(),
    });
    return {
      open: async (path, mode) => held(await disk.open(path, mode)),
      list: (directory) => disk.list(directory),
      stat: (path) => disk.stat(path),
      fileSystem: (path) => disk.fileSystem(path),
      makeDirectory: (path) => disk.makeDirectory(path),
      rename: (from, to) => disk.rename(from, to),
      remove: (path) => disk.remove(path),
      syncDirectory: (path) => disk.syncDirectory(path),
      lock: (path) => disk.lock(path),
    };
  }
}

/** Passes bytes on to a socket, until its connections are cut. */
export async function aCuttable(to: string): Promise<{ path: string; cut: () => void }> {
  const path = join(await aDirectory(), 'proxy.sock');
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    return socket;
  };
  const proxy = createServer((client) => {
    const server = keep(connect(to));
    keep(client).pipe(server).pipe(client);
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(path, resolve));
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  later(() => {
    cut();
    proxy.close();
  });
  return { path, cut };
}
