/** A real server on a real socket in a directory of its own, and clients for it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import {
  SnapshotsClient,
  SnapshotsService,
  type SnapshotsServer,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { HealthClient } from '../../src/api/generated/grpc/health/v1/health.js';
import { Health } from '../../src/api/grpc/health.js';
import { startServer, type RunningServer, type ServerOptions } from '../../src/api/grpc/server.js';
import type { CallEnd } from '../../src/api/grpc/calls.js';

const cleanups: (() => void | Promise<void>)[] = [];

/** Runs what the tests have asked to be cleaned up, newest first. */
export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

export function later(cleanup: () => void | Promise<void>): void {
  cleanups.push(cleanup);
}

export async function aDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'stratalog-api-'));
  later(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export interface ServedRig {
  readonly server: RunningServer;
  readonly path: string;
  readonly health: Health;
  readonly ends: CallEnd[];
  readonly warnings: string[];
  readonly snapshots: () => SnapshotsClient;
  readonly healthClient: () => HealthClient;
}

/** Starts a server for a partial snapshots service; what is left out answers UNIMPLEMENTED. */
export async function aServer(
  implementation: Partial<SnapshotsServer>,
  options: Partial<Omit<ServerOptions, 'services'>> & { readonly path?: string } = {},
): Promise<ServedRig> {
  const path = options.path ?? join(await aDirectory(), 'stratalog.sock');
  const health = new Health();
  const ends: CallEnd[] = [];
  const warnings: string[] = [];
  const services = [
    { definition: SnapshotsService, implementation: { ...implementation } as SnapshotsServer },
  ];
  const server = await startServer({
    target: { path },
    services,
    health,
    onCallEnd: (end) => ends.push(end),
    onWarning: (message) => warnings.push(message),
    ...options,
  });
  later(() => server.stop(0));
  const address = `unix:${path}`;
  return {
    server,
    path,
    health,
    ends,
    warnings,
    snapshots: () => closing(new SnapshotsClient(address, credentials.createInsecure())),
    healthClient: () => closing(new HealthClient(address, credentials.createInsecure())),
  };
}

function closing<Client extends { close(): void }>(client: Client): Client {
  later(() => client.close());
  return client;
}

/** A unary call as a promise. */
export function asked<Response>(
  call: (callback: (error: ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    call((error, response) => {
      if (error) reject(error);
      else resolve(response);
    });
  });
}
