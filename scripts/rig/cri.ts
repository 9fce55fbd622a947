/**
 * The kubelet's side of containerd: a client of the CRI (k8s.io/cri-api, runtime/v1/api.proto, from
 * Debian's next release) that pulls images and runs pods as the kubelet does.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Client,
  type GrpcObject,
  Metadata,
  type ServiceClientConstructor,
  credentials,
  loadPackageDefinition,
} from '@grpc/grpc-js';
import { load } from '@grpc/proto-loader';
import { repository } from './daemon.js';
import type { Workspace } from './workspace.js';

const programs = join(repository, '.cache', 'debian-next');
const proto = join(programs, 'cri-api', 'api.proto');

/** Field names are those of the proto file. */
type Message = Readonly<Record<string, unknown>>;

/** Ids of containers and of the host that a user namespace maps to each other. */
export interface IdMapping {
  readonly hostId: number;
  readonly length: number;
}

export interface PodOptions {
  /** `hostUsers: false`: a user namespace with a network of its own. Otherwise both are the host's. */
  readonly userNamespace?: IdMapping;
}

export interface Pod {
  readonly id: string;
  readonly config: Message;
  /** For its containers. */
  readonly namespaces: Message;
}

export class Cri {
  readonly #workspace: Workspace;
  readonly #images: Service;
  readonly #runtime: Service;

  private constructor(workspace: Workspace, images: Service, runtime: Service) {
    this.#workspace = workspace;
    this.#images = images;
    this.#runtime = runtime;
  }

  static async connect(workspace: Workspace, address: string): Promise<Cri> {
    if (!existsSync(proto))
      throw new Error(`${proto} does not exist; run 'sh scripts/setup.sh test'`);
    const definition = loadPackageDefinition(
      await load(proto, { keepCase: true, longs: Number, enums: String, defaults: true }),
    );
    const services = (definition['runtime'] as GrpcObject)['v1'] as GrpcObject;
    const service = (name: string) =>
      new Service(services[name] as ServiceClientConstructor, `unix:${address}`);
    const [images, runtime] = [service('ImageService'), service('RuntimeService')];
    workspace.onClose(() => {
      images.close();
      runtime.close();
      return Promise.resolve();
    });
    return new Cri(workspace, images, runtime);
  }

  async pull(reference: string): Promise<void> {
    await this.#images.call('PullImage', { image: { image: reference } });
  }

  async removeImage(reference: string): Promise<void> {
    await this.#images.call('RemoveImage', { image: { image: reference } });
  }

  /** Names of all images, as `crictl images` lists them. */
  async images(): Promise<string[]> {
    const { images } = (await this.#images.call('ListImages', {})) as {
      images: { repo_tags: string[] }[];
    };
    return images.flatMap((image) => image.repo_tags);
  }

  /** Where the kubelet measures how full the images' file system is. */
  async imageFileSystem(): Promise<string> {
    const { image_filesystems: found } = (await this.#images.call('ImageFsInfo', {})) as {
      image_filesystems: { fs_id: { mountpoint: string } }[];
    };
    return found.map(({ fs_id: { mountpoint } }) => mountpoint).join(', ');
  }

  async runPod(name: string, { userNamespace }: PodOptions = {}): Promise<Pod> {
    const pod = 'POD';
    const node = 'NODE';
    const mappings = userNamespace && [
      { container_id: 0, host_id: userNamespace.hostId, length: userNamespace.length },
    ];
    const namespaces = {
      network: mappings ? pod : node,
      pid: 'CONTAINER',
      ipc: pod,
      userns_options: mappings ? { mode: pod, uids: mappings, gids: mappings } : { mode: node },
    };
    const config = {
      metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
      hostname: mappings ? name : '',
      log_directory: this.#workspace.makeDirectory('pod-logs', name),
      linux: {
        cgroup_parent: `/${this.#workspace.name}`,
        security_context: { namespace_options: namespaces },
      },
    };
    const { pod_sandbox_id: id } = (await this.#runtime.call('RunPodSandbox', { config })) as {
      pod_sandbox_id: string;
    };
    return { id, config, namespaces };
  }

  async removePod(pod: Pod): Promise<void> {
    await this.#runtime.call('StopPodSandbox', { pod_sandbox_id: pod.id });
    await this.#runtime.call('RemovePodSandbox', { pod_sandbox_id: pod.id });
  }

  /** Starts a container that runs the script. */
  async start(pod: Pod, name: string, image: string, script: string): Promise<string> {
    const { container_id: id } = (await this.#runtime.call('CreateContainer', {
      pod_sandbox_id: pod.id,
      config: {
        metadata: { name, attempt: 0 },
        image: { image },
        command: ['/bin/sh', '-c', script],
        log_path: `${name}.log`,
        linux: { security_context: { namespace_options: pod.namespaces } },
      },
      sandbox_config: pod.config,
    })) as { container_id: string };
    await this.#runtime.call('StartContainer', { container_id: id });
    return id;
  }

  async containerState(id: string): Promise<string> {
    const { status } = (await this.#runtime.call('ContainerStatus', { container_id: id })) as {
      status: { state: string };
    };
    return status.state;
  }

  /** What the script printed. Throws, with all output, when it fails. */
  async exec(id: string, script: string): Promise<string> {
    const ended = (await this.#runtime.call('ExecSync', {
      container_id: id,
      cmd: ['/bin/sh', '-c', script],
      timeout: 60,
    })) as { stdout: Buffer; stderr: Buffer; exit_code: number };
    const output = ended.stdout.toString();
    if (ended.exit_code === 0) return output;
    throw new Error(`exec ended with ${ended.exit_code}\n${output}${ended.stderr.toString()}`);
  }

  async removeContainer(id: string): Promise<void> {
    await this.#runtime.call('StopContainer', { container_id: id, timeout: 0 });
    await this.#runtime.call('RemoveContainer', { container_id: id });
  }
}

class Service {
  readonly #methods: ServiceClientConstructor['service'];
  readonly #client: Client;

  constructor(constructor: ServiceClientConstructor, address: string) {
    this.#methods = constructor.service;
    this.#client = new constructor(address, credentials.createInsecure());
  }

  call(method: string, request: Message): Promise<unknown> {
    const definition = this.#methods[method];
    if (definition === undefined) throw new Error(`the CRI has no method ${method}`);
    const { path, requestSerialize, responseDeserialize } = definition;
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, response: unknown) => {
        if (error === null) resolve(response);
        else reject(new Error(`${method}: ${error.message}`, { cause: error }));
      };
      const deadline = Date.now() + 120_000;
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        { deadline },
        done,
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}

/**
 * containerd's settings for it: nothing outside the workspace, the given image for the sandboxes,
 * and a network without any interface but the loopback one for pods that do not use the host's.
 */
export async function criSettings(workspace: Workspace, sandboxImage: string): Promise<string> {
  const networks = workspace.makeDirectory('cni');
  const cniVersion = '1.0.0';
  const network = { cniVersion, name: 'loopback-only', plugins: [{ type: 'none' }] };
  await writeFile(join(networks, '10-none.conflist'), JSON.stringify(network));
  // An address is what containerd asks of a network; no pod of the tests uses it.
  const result = { cniVersion, interfaces: [{ name: 'eth0' }], ips: [{ address: '192.0.2.1/32' }] };
  const plugin = `#!/bin/sh\ncat > /dev/null\necho '${JSON.stringify(result)}'\n`;
  await writeFile(join(networks, 'none'), plugin, { mode: 0o755 });
  return `
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "${sandboxImage}"
[plugins.'io.containerd.cri.v1.runtime']
  # Root may lack CAP_SYS_RESOURCE, for example in a virtual machine of a build service.
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["${networks}"]
  use_internal_loopback = true
  conf_dir = "${networks}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = "${join(programs, 'runc', 'runc')}"
    Root = "${workspace.makeDirectory('runc')}"
`;
}
