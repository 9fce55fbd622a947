/**
 * A Docker Engine of our own, from Debian's next release, with the containerd image store: images
 * and containers are in the given containerd and its snapshotter. It has no bridge and sets no
 * firewall rule; containers use the network of the host, or none.
 */
import { existsSync, rmdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type CommandOptions, type Finished, run } from './command.js';
import type { PrivateContainerd } from './containerd.js';
import { repository } from './daemon.js';
import { Service, accepts } from './service.js';
import type { Workspace } from './workspace.js';

const programs = join(repository, '.cache', 'debian-next', 'docker');
/** dockerd makes this directory whatever its settings are. */
const pluginSockets = '/run/docker/plugins';

export interface DockerSpec {
  readonly workspace: Workspace;
  readonly containerd: PrivateContainerd;
  readonly snapshotter: string;
}

export class DockerEngine {
  readonly #socket: string;
  readonly #config: string;
  readonly #service: Service;

  private constructor(socket: string, config: string, service: Service) {
    this.#socket = socket;
    this.#config = config;
    this.#service = service;
  }

  static async start({ workspace, containerd, snapshotter }: DockerSpec): Promise<DockerEngine> {
    const dockerd = join(programs, 'dockerd');
    if (!existsSync(dockerd)) {
      throw new Error(`${dockerd} does not exist; run 'sh scripts/setup.sh test'`);
    }
    const socket = workspace.path('docker.sock');
    const configFile = workspace.path('docker-daemon.json');
    await writeFile(
      configFile,
      JSON.stringify({
        features: { 'containerd-snapshotter': true },
        'storage-driver': snapshotter,
        containerd: containerd.address,
        hosts: [`unix://${socket}`],
        'data-root': workspace.makeDirectory('docker-data'),
        'exec-root': workspace.makeDirectory('docker-run'),
        pidfile: workspace.path('docker.pid'),
        'cgroup-parent': `/${workspace.name}`,
        bridge: 'none',
        iptables: false,
        ip6tables: false,
        'ip-forward': false,
        'userland-proxy': false,
      }),
    );
    const config = workspace.makeDirectory('docker-client');
    await writeFile(
      join(config, 'config.json'),
      JSON.stringify({ cliPluginsExtraDirs: [join(programs, 'cli-plugins')] }),
    );
    const hadPluginSockets = existsSync(pluginSockets);
    workspace.onClose(() => {
      if (!hadPluginSockets) removeWhenEmpty([pluginSockets, dirname(pluginSockets)]);
      return Promise.resolve();
    });
    const service = await Service.start(
      workspace,
      {
        name: 'dockerd',
        program: dockerd,
        args: ['--config-file', configFile],
        logFile: workspace.path('dockerd.log'),
        env: { TMPDIR: workspace.makeDirectory('tmp') },
      },
      () => accepts(socket),
    );
    return new DockerEngine(socket, config, service);
  }

  /** Any command of the client: `docker.run('image', 'ls')`. Answers its standard output. */
  async run(...args: string[]): Promise<string> {
    return (await this.finish(args)).stdout;
  }

  finish(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
    return run(join(programs, 'docker'), args, {
      timeoutMillis: 120_000,
      ...options,
      env: { DOCKER_HOST: `unix://${this.#socket}`, DOCKER_CONFIG: this.#config, ...options.env },
    });
  }

  /** Builds the Dockerfile in a context of these files, and tags the image. */
  async build(
    builder: 'classic' | 'buildkit',
    tag: string,
    files: Readonly<Record<string, string>>,
    context: string,
  ): Promise<void> {
    await mkdir(context, { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(context, name), text);
    await this.finish(['build', '--network', 'none', '--tag', tag, context], {
      env: { DOCKER_BUILDKIT: builder === 'buildkit' ? '1' : '0' },
    });
  }

  logTail(lines?: number): string {
    return this.#service.logTail(lines);
  }
}

/** Of the deepest first; others may use them by now. */
function removeWhenEmpty(directories: readonly string[]): void {
  for (const directory of directories) {
    try {
      rmdirSync(directory);
    } catch {
      return;
    }
  }
}
