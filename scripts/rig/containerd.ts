/**
 * A containerd of our own: root, state, sockets, config and log in the workspace, with Stratalog
 * as its proxy plugin `stratalog`. It touches nothing of a containerd that the machine may run.
 *
 * STRATALOG_CONTAINERD and STRATALOG_CTR name other binaries, for example of a 2.x release.
 */
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { removeCgroups } from './cgroups.js';
import { run } from './command.js';
import { Ctr } from './ctr.js';
import { Service, accepts } from './service.js';
import { until } from './wait.js';
import { type Workspace, isRunning, killQuietly, processesNaming } from './workspace.js';

const snapshotterName = 'stratalog';

export interface ContainerdSpec {
  readonly workspace: Workspace;
  /** Socket of the snapshotter. containerd starts without it and connects when it is there. */
  readonly pluginAddress: string;
  /** Directory that the snapshotter keeps its layers in. */
  readonly pluginRoot: string;
  /** What `stratalog config containerd` prints, in place of the rig's own sections. */
  readonly printedSections?: string;
  /** With the plugins that serve the kubelet. Their settings, in addition to the printed sections. */
  readonly cri?: string;
  /** Of the plugin; by default those that `stratalog config containerd` prints for this release. */
  readonly capabilities?: readonly string[];
}

export class PrivateContainerd {
  /** Of the release: 1 or 2. */
  readonly major: number;
  readonly address: string;
  readonly ctr: Ctr;
  readonly #spec: ContainerdSpec;
  #service: Service | null = null;

  private constructor(spec: ContainerdSpec, major: number) {
    const { workspace } = spec;
    this.#spec = spec;
    this.major = major;
    this.address = workspace.path('containerd.sock');
    this.ctr = new Ctr({
      binary: ctrBinary(),
      address: this.address,
      namespace: 'default',
      snapshotter: snapshotterName,
      runcRoot: workspace.makeDirectory('runc'),
      cgroupParent: `/${workspace.name}`,
      fifoDirectory: workspace.makeDirectory('fifo'),
      temporaryDirectory: workspace.makeDirectory('tmp'),
    });
  }

  static async start(spec: ContainerdSpec): Promise<PrivateContainerd> {
    const major = await containerdMajor();
    const containerd = new PrivateContainerd(spec, major);
    const config = configOf(spec, containerd.address, major);
    await writeFile(spec.workspace.path('containerd.toml'), config);
    spec.workspace.onClose(() => containerd.#destroy());
    await containerd.startAgain();
    return containerd;
  }

  async startAgain(): Promise<void> {
    if (this.#service?.isRunning === true) throw new Error('containerd is still running');
    const { workspace } = this.#spec;
    this.#service = await Service.start(
      workspace,
      {
        name: 'containerd',
        program: containerdBinary(),
        args: ['--config', workspace.path('containerd.toml')],
        logFile: workspace.path('containerd.log'),
        env: {
          // Its temporary mounts belong into the workspace too.
          TMPDIR: workspace.makeDirectory('tmp'),
          // The shim is looked up in PATH first, and must be of the same release.
          ...(containerdBinary().includes('/') && {
            PATH: `${dirname(containerdBinary())}:${process.env['PATH'] ?? ''}`,
          }),
        },
      },
      () => accepts(this.address),
    );
    await until('containerd answers', async () => {
      const { exitCode } = await this.ctr.finish(['version'], {
        mayFail: true,
        timeoutMillis: 10_000,
      });
      return exitCode === 0;
    });
  }

  async stop(): Promise<void> {
    await this.#service?.stop();
  }

  async crash(): Promise<void> {
    await this.#service?.crash();
  }

  logTail(lines?: number): string {
    return this.#service?.logTail(lines) ?? '';
  }

  /**
   * containerd first, so that no task begins any more; then containers by their own pids, the
   * shims that serve this socket, and what they leave outside the workspace.
   */
  async #destroy(): Promise<void> {
    const { workspace } = this.#spec;
    const tasks = workspace.path('containerd-state', 'io.containerd.runtime.v2.task');
    await this.#service?.stop();
    // A shim that containerd was just starting has to come up before it can be found.
    await until('all containers and shims are gone', () => {
      const inits = bundlesIn(tasks).map((bundle) => Number(textOf(join(bundle, 'init.pid'))));
      const runtimes = [`-address ${this.address}`, workspace.path('runc')]
        .flatMap(processesNaming)
        .map((found) => found.pid);
      const running = [...inits.filter(isRunning), ...runtimes];
      for (const pid of running) killQuietly(pid);
      return running.length === 0;
    });
    // A shim that is killed leaves its socket below /run/containerd/s; its bundle knows the name.
    for (const bundle of bundlesIn(tasks)) {
      const socket = textOf(join(bundle, 'address')).replace(/^unix:\/\//, '');
      if (socket.startsWith('/')) rmSync(socket, { force: true });
    }
    await removeCgroups(workspace.name);
  }
}

/** 1 or 2: the line of the chosen containerd. */
export async function containerdMajor(): Promise<number> {
  const { stdout } = await run(containerdBinary(), ['--version']);
  const major = Number(/\sv?(\d+)\.\d+\.\d+/.exec(stdout)?.[1] ?? Number.NaN);
  if (major === 1 || major === 2) return major;
  throw new Error(`cannot tell the release of containerd: ${stdout}`);
}

/** Throws, with advice, when the file that is named does not exist. */
function containerdBinary(): string {
  const binary = process.env['STRATALOG_CONTAINERD'] ?? 'containerd';
  if (binary.includes('/') && !existsSync(binary)) {
    throw new Error(`${binary} does not exist; run 'sh scripts/setup.sh test'`);
  }
  return binary;
}

/** The chosen `ctr`: by default the one next to the chosen containerd. */
export function ctrBinary(): string {
  const chosen = process.env['STRATALOG_CTR'] ?? '';
  if (chosen !== '') return chosen;
  const binary = containerdBinary();
  return binary.includes('/') ? join(dirname(binary), 'ctr') : 'ctr';
}

/**
 * 1.x reads version 2, 2.x also version 3 and, from 2.3 on, 4 (2.3 migrates 3). `proxy_plugins` is
 * the same in all. 2.x pulls through the transfer service, which unpacks only for the configured
 * snapshotters.
 */
function configOf(spec: ContainerdSpec, address: string, major: number): string {
  const { workspace } = spec;
  const disabled = [...pluginsWithoutUse, ...(spec.cri === undefined ? criPlugins : [])];
  // Keys of the top level come before the first table; the printed sections begin with one of them.
  return `root = "${workspace.makeDirectory('containerd-root')}"
state = "${workspace.makeDirectory('containerd-state')}"
disabled_plugins = [${disabled.map((name) => `"${name}"`).join(', ')}]
${spec.printedSections ?? ownSections(spec, major)}
[grpc]
  address = "${address}"
[ttrpc]
  address = "${address}.ttrpc"
[debug]
  level = "debug"
${spec.cri ?? ''}`;
}

function ownSections(spec: ContainerdSpec, major: number): string {
  const { capabilities = major === 1 ? [] : ['remap-ids'] } = spec;
  const unpack =
    major === 1
      ? ''
      : `
[plugins.'io.containerd.transfer.v1.local']
  [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
    platform = "linux"
    snapshotter = "${snapshotterName}"
  [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
    platform = "linux"
    snapshotter = "overlayfs"
`;
  return `version = ${major === 1 ? 2 : 3}

[proxy_plugins.${snapshotterName}]
  type = "snapshot"
  address = "${spec.pluginAddress}"
  capabilities = ${JSON.stringify(capabilities)}
  [proxy_plugins.${snapshotterName}.exports]
    root = "${spec.pluginRoot}"
    enable_remote_snapshot_annotations = "true"
${unpack}`;
}

const criPlugins = [
  'io.containerd.grpc.v1.cri',
  'io.containerd.cri.v1.images',
  'io.containerd.cri.v1.runtime',
  'io.containerd.sandbox.controller.v1.podsandbox',
];

const pluginsWithoutUse = [
  'io.containerd.nri.v1.nri',
  'io.containerd.internal.v1.opt',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs',
];

/** `<tasks>/<namespace>/<container>` */
function bundlesIn(tasks: string): string[] {
  return namesIn(tasks).flatMap((namespace) =>
    namesIn(join(tasks, namespace)).map((id) => join(tasks, namespace, id)),
  );
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
