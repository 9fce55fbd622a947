/**
 * A registry of our own on 127.0.0.1: Debian's docker-registry with its storage in the workspace.
 * Its access log is the proof of what a pull has fetched and what it has not.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { Service } from './service.js';
import type { Workspace } from './workspace.js';

export interface RegistryRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

export class Registry {
  /** `127.0.0.1:PORT`: the first part of an image's reference. */
  readonly host: string;
  readonly #service: Service;
  #seenBytes = 0;

  private constructor(host: string, service: Service) {
    this.host = host;
    this.#service = service;
  }

  static async start(workspace: Workspace): Promise<Registry> {
    const attempts = 5;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await Registry.#startOn(workspace, await freePort());
      } catch (error) {
        // Another process may take the port between our look and the registry's.
        if (attempt === attempts) throw error;
      }
    }
  }

  static async #startOn(workspace: Workspace, port: number): Promise<Registry> {
    const host = `127.0.0.1:${port}`;
    const configFile = workspace.path('registry.yml');
    await writeFile(configFile, configOf(host, workspace.makeDirectory('registry')));
    const service = await Service.start(
      workspace,
      {
        name: 'registry',
        program: process.env['STRATALOG_REGISTRY_BINARY'] ?? 'docker-registry',
        args: ['serve', configFile],
        logFile: workspace.path('registry.log'),
        env: { OTEL_TRACES_EXPORTER: 'none' },
      },
      async () => (await fetch(`http://${host}/v2/`)).ok,
    );
    return new Registry(host, service);
  }

  get url(): string {
    return `http://${this.host}`;
  }

  reference(repository: string, tag: string): string {
    return `${this.host}/${repository}:${tag}`;
  }

  /** Requests since the last call, or since the start. */
  async newRequests(): Promise<RegistryRequest[]> {
    const log = await readFile(this.#service.logFile, 'utf8');
    const fresh = log.slice(this.#seenBytes);
    this.#seenBytes = log.length;
    return fresh.split('\n').flatMap((line) => {
      // Combined log format: 127.0.0.1 - - [time] "GET /v2/… HTTP/1.1" 200 1234 "" "agent"
      const match = /"([A-Z]+) (\S+) HTTP\/[0-9.]+" (\d{3}) /.exec(line);
      return match
        ? [{ method: match[1] ?? '', path: match[2] ?? '', status: Number(match[3]) }]
        : [];
    });
  }

  /** Digests of the blobs handed out since the last look at the log. */
  async newBlobsServed(): Promise<string[]> {
    return (await this.newRequests()).flatMap((request) => {
      const digest = /\/blobs\/(sha256:[0-9a-f]{64})$/.exec(request.path)?.[1];
      return digest !== undefined && request.method === 'GET' && request.status < 300
        ? [digest]
        : [];
    });
  }
}

function configOf(host: string, directory: string): string {
  return `version: 0.1
log:
  level: warn
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: ${directory}
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: ${host}
  secret: only-of-this-run
`;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('no port'));
        else resolve(address.port);
      });
    });
  });
}
