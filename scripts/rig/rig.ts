/** Everything joined: a workspace, a snapshotter, a private containerd that uses it, a registry. */
import { type DaemonOptions, Daemon, type SnapshotterProcess, stratalog } from './daemon.js';
import { type ContainerdSpec, PrivateContainerd, containerdMajor } from './containerd.js';
import type { Ctr } from './ctr.js';
import { type Image, pushImage } from './image.js';
import { Registry } from './registry.js';
import { Workspace } from './workspace.js';

export interface RigOptions extends DaemonOptions, Pick<ContainerdSpec, 'capabilities'> {
  /** Another snapshotter in Stratalog's place: the rig's own proof. */
  readonly snapshotter?: (workspace: Workspace) => SnapshotterProcess;
  /** containerd is configured with what `stratalog config containerd` prints, as an operator would. */
  readonly asPrinted?: boolean;
  /** containerd serves the kubelet too, with these settings. */
  readonly cri?: (registry: Registry, workspace: Workspace) => Promise<string>;
}

export class Rig {
  readonly workspace: Workspace;
  readonly daemon: SnapshotterProcess;
  readonly containerd: PrivateContainerd;
  readonly registry: Registry;

  private constructor(
    workspace: Workspace,
    daemon: SnapshotterProcess,
    containerd: PrivateContainerd,
    registry: Registry,
  ) {
    this.workspace = workspace;
    this.daemon = daemon;
    this.containerd = containerd;
    this.registry = registry;
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const workspace = await Workspace.create();
    try {
      const daemon = options.snapshotter?.(workspace) ?? Daemon.stratalog(workspace, options);
      await daemon.start();
      const registry = await Registry.start(workspace);
      const containerd = await PrivateContainerd.start({
        workspace,
        pluginAddress: daemon.address,
        pluginRoot: daemon.root,
        ...(options.asPrinted === true && { printedSections: await printedSections(daemon) }),
        ...(options.cri && { cri: await options.cri(registry, workspace) }),
        ...(options.capabilities && { capabilities: options.capabilities }),
      });
      return new Rig(workspace, daemon, containerd, registry);
    } catch (error) {
      await workspace.close();
      throw error;
    }
  }

  get ctr(): Ctr {
    return this.containerd.ctr;
  }

  /** Pushes the image and answers its reference. */
  async publish(image: Image, repository: string, tag = 'v1'): Promise<string> {
    await pushImage(image, this.registry.url, repository, tag);
    return this.registry.reference(repository, tag);
  }

  close(): Promise<void> {
    return this.workspace.close();
  }
}

async function printedSections({ root, address }: SnapshotterProcess): Promise<string> {
  const line = (await containerdMajor()) === 1 ? '1.6' : '2.x';
  const args = ['--root', root, '--address', address, '--containerd-version', line];
  const { exitCode, stdout, stderr } = await stratalog('config', 'containerd', ...args);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout;
}
