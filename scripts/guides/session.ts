/**
 * A node of our own on which a guide's story happens: the daemon, a private containerd, a registry,
 * and a shell in which `stratalog` and `ctr` are theirs.
 */
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { run } from '../rig/command.js';
import { repository, stratalog } from '../rig/daemon.js';
import type { Image } from '../rig/image.js';
import { Rig } from '../rig/rig.js';
import { Workspace } from '../rig/workspace.js';
import { forHere, forPage, type Alias } from './steady.js';

export interface Shown {
  readonly exitCode: number;
  /** Standard output and error together, as a terminal has them. */
  readonly output: string;
}

/** The night in which all stories happen. */
const storyBegins = Date.parse('2026-11-20T03:11:30Z');

export class Session {
  readonly rig: Rig;
  /** Names for words that only the run knows: `{{before}}`. */
  readonly words = new Map<string, string>();
  readonly #aliases: Alias[];
  readonly #shiftMillis: number;
  readonly #directory: string;
  readonly #store: Workspace;

  private constructor(rig: Rig, store: Workspace) {
    this.rig = rig;
    this.#store = store;
    this.#directory = rig.workspace.makeDirectory('desk');
    this.#aliases = [
      { real: rig.daemon.root, page: '/var/lib/stratalog' },
      { real: rig.daemon.address, page: '/run/stratalog/stratalog.sock' },
      { real: rig.containerd.address, page: '/run/containerd/containerd.sock' },
      { real: rig.workspace.path('containerd-state'), page: '/run/containerd' },
      { real: rig.workspace.path('containerd-root'), page: '/var/lib/containerd' },
      { real: rig.registry.host, page: 'hub.example.com' },
      { real: this.#directory, page: '/root' },
      { real: store.path('layers'), page: '/srv/layers' },
    ];
    this.#shiftMillis = storyBegins - Math.floor(Date.now() / 1000) * 1000;
  }

  /**
   * Directories are not made ahead, so that the numbers in the story follow each other. With
   * `warm`, the lowest layer of that image is in a layer store that the daemon asks.
   */
  static async start(warm?: Image): Promise<Session> {
    const store = await Workspace.create('strata-store-');
    try {
      const config = 'preallocated_directories = 0\n';
      const layerStore = warm === undefined ? undefined : await layerStoreOf(store, warm);
      const rig = await Rig.start({ config, ...(layerStore && { layerStore }) });
      return new Session(rig, store);
    } catch (thrown) {
      await store.close();
      throw thrown;
    }
  }

  /** The directory that the page calls /root. */
  path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  /** A line of shell as the page writes it, and what it printed as the page shows it. */
  async shell(line: string): Promise<Shown> {
    const { daemon, containerd } = this.rig;
    const script = `exec 2>&1
stratalog() { "${process.execPath}" "${repository}/dist/bin/stratalog.cjs" "$@"; }
ctr() { command "${process.env['STRATALOG_CTR'] ?? 'ctr'}" "$@"; }
${forHere(this.#filled(line), this.#aliases, this.#shiftMillis)}
`;
    const file = this.rig.workspace.path('command.sh');
    await writeFile(file, script);
    const { exitCode, stdout } = await run('bash', ['--norc', file], {
      cwd: this.#directory,
      mayFail: true,
      env: {
        ...{ STRATALOG_ROOT: daemon.root, STRATALOG_ADDRESS: daemon.address },
        ...{ CONTAINERD_ADDRESS: containerd.address, NO_COLOR: '1' },
      },
    });
    return { exitCode, output: this.written(stdout) };
  }

  /** As the page shows it. */
  written(text: string): string {
    return forPage(text, this.#aliases, this.#shiftMillis);
  }

  /** With words of this run put in. */
  #filled(text: string): string {
    return text.replaceAll(/\{\{(.+?)\}\}/g, (_, name) => this.word(String(name)));
  }

  word(name: string): string {
    const word = this.words.get(name);
    if (word === undefined) throw new Error(`nothing in this session is called ${name}`);
    return word;
  }

  /** A moment with nothing else in its second, as the page writes it. */
  async mark(name: string): Promise<void> {
    await sleep(1000 - (Date.now() % 1000) + 20);
    const second = new Date(Math.floor(Date.now() / 1000) * 1000).toISOString();
    this.words.set(name, this.written(second.replace('.000', '')));
    await sleep(50);
  }

  /** The daemon goes before the layers that it shows. */
  async close(): Promise<void> {
    await this.rig.close();
    await this.#store.close();
  }
}

async function layerStoreOf(store: Workspace, image: Image): Promise<string> {
  const [lowest] = image.layers;
  const [chainId] = image.chainIds;
  if (lowest === undefined || chainId === undefined) throw new Error('an image without layers');
  const tar = store.path('layer.tar');
  await writeFile(tar, gunzipSync(lowest.gzipped));
  const layers = store.makeDirectory('layers');
  const { exitCode, stderr } = await stratalog(
    ...['layer', 'import', '--layer-store', layers, '--chain-id', chainId, `tar:${tar}`],
  );
  if (exitCode !== 0) throw new Error(stderr);
  return layers;
}
