/**
 * containerd's own unpack and ours of the same blob, and how the trees differ that they make. The
 * other side is containerd's applier in a Go program (go/unpack.go), built from Debian's sources.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { createInterface, type Interface } from 'node:readline';

import { buildGo } from '../../../../scripts/rig/go-programs.js';
import type { ChainId, Digest } from '../../../../src/filesystems/layer-store/digest.js';
import { chainIdOn, digestOf, hexOf } from '../../../../src/filesystems/layer-store/digest.js';
import { importLayer } from '../../../../src/filesystems/layer-store/import/import-layer.js';
import type { LayerFormat } from '../../../../src/filesystems/layer-store/layout.js';
import { openOrMakeStore } from '../../../../src/filesystems/layer-store/store-directory.js';
import { type Bench, reasonFor } from '../support.js';

/** As the Go program writes it: names, targets and values in base64, attributes by hex. */
interface WalkedFile {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly device?: string;
  readonly size: number;
  readonly modified: string;
  readonly accessed: string;
  readonly inode: string;
  readonly links: number;
  readonly target?: string;
  readonly content?: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

interface Reply {
  readonly error?: string;
  readonly diffId?: string;
  readonly entries?: readonly WalkedFile[];
}

export interface Blob {
  readonly bytes: Buffer;
  readonly mediaType: string;
  /** Of the tar in it. */
  readonly diffId: Digest;
}

export const plainType = 'application/vnd.oci.image.layer.v1.tar';

export const plainBlob = (tar: Buffer): Blob => {
  return { bytes: tar, mediaType: plainType, diffId: digestOf(tar) };
};

/** A layer that both have unpacked. */
export interface Below {
  readonly chainId: ChainId;
  /** Where containerd has unpacked it. */
  readonly directory: string;
}

/** What one side made of a blob. */
export type Outcome =
  | { readonly kind: 'unpacked'; readonly files: readonly WalkedFile[] }
  | { readonly kind: 'refused'; readonly reason: string };

export class UnpackComparison {
  private readonly bench: Bench;
  private readonly program: ChildProcess;
  private readonly replies: AsyncIterator<string>;
  private readonly lines: Interface;
  private readonly layout: string;
  private readonly store: string;

  private constructor(bench: Bench, program: ChildProcess) {
    this.bench = bench;
    this.program = program;
    if (program.stdout === null) throw new Error('the Go program has no stdout');
    this.lines = createInterface({ input: program.stdout });
    this.replies = this.lines[Symbol.asyncIterator]();
    this.layout = bench.directory('layout');
    fs.mkdirSync(path.join(this.layout, 'blobs/sha256'), { recursive: true });
    this.store = openOrMakeStore(bench.store);
  }

  static async start(bench: Bench): Promise<UnpackComparison> {
    const binary = await buildGo('program', 'test/filesystems/layer-store/unpack/go');
    // With unpigz, containerd would ignore what follows the last gzip member.
    const env = { ...process.env, CONTAINERD_DISABLE_PIGZ: '1', CONTAINERD_DISABLE_IGZIP: '1' };
    const program = spawn(binary, [], { stdio: ['pipe', 'pipe', 'inherit'], env });
    return new UnpackComparison(bench, program);
  }

  async close(): Promise<void> {
    const ended = once(this.program, 'exit');
    this.program.stdin?.end();
    await ended;
    this.lines.close();
  }

  /** Unpacks a layer on both sides, for others to be unpacked on it. */
  async below(tar: Buffer, parent: Below | null): Promise<Below> {
    const blob = plainBlob(tar);
    const directory = this.bench.directory('below');
    const reply = await this.apply(blob, directory, parent === null ? [] : [parent]);
    if (reply.error !== undefined) throw new Error(`the layer below: ${reply.error}`);
    const chainId = await this.import(blob, parent, 'directory');
    return { chainId, directory };
  }

  /** By containerd; `parents` topmost first, none for a lowest layer. */
  async theirs(blob: Blob, parents: readonly Below[]): Promise<Outcome> {
    const directory = this.bench.directory('theirs');
    const reply = await this.apply(blob, directory, parents);
    const outcome =
      reply.error === undefined
        ? reply.diffId === blob.diffId
          ? await this.walked(directory)
          : ({ kind: 'refused', reason: `another diff id: ${reply.diffId ?? ''}` } as const)
        : ({ kind: 'refused', reason: reply.error } as const);
    fs.rmSync(directory, { recursive: true });
    return outcome;
  }

  async ours(blob: Blob, parent: Below | null, format: LayerFormat): Promise<Outcome> {
    const made: ChainId[] = [];
    const importing = this.import(blob, parent, format).then((chainId) => made.push(chainId));
    const reason = await reasonFor(importing);
    const [chainId] = made;
    if (chainId === undefined) return { kind: 'refused', reason };
    const layer = path.join(this.store, 'sha256', hexOf(chainId));
    try {
      if (format === 'directory') return await this.walked(path.join(layer, 'fs'));
      const mountpoint = await this.bench.mount(chainId);
      try {
        return await this.walked(mountpoint);
      } finally {
        await this.bench.mountTable.unmount(mountpoint, { detach: false });
      }
    } finally {
      fs.rmSync(layer, { recursive: true });
    }
  }

  private async import(blob: Blob, parent: Below | null, format: LayerFormat): Promise<ChainId> {
    const { diffId, mediaType, bytes } = blob;
    const chainId = chainIdOn(parent?.chainId ?? null, diffId);
    const source = {
      description: 'the layer',
      chainId,
      parentChainId: parent?.chainId ?? null,
      diffId,
      blob: { digest: digestOf(bytes), size: bytes.length, mediaType },
      open: async function* () {
        yield await Promise.resolve(bytes);
      },
      repeatable: true,
    };
    await importLayer(this.store, source, this.bench.importOptions({ format }));
    return chainId;
  }

  private apply(blob: Blob, root: string, parents: readonly Below[]): Promise<Reply> {
    const digest = digestOf(blob.bytes);
    fs.writeFileSync(path.join(this.layout, 'blobs/sha256', hexOf(digest)), blob.bytes);
    fs.chmodSync(root, 0o755);
    return this.request({
      apply: {
        layout: this.layout,
        digest,
        mediaType: blob.mediaType,
        root,
        parents: parents.map((each) => each.directory),
      },
    });
  }

  private async walked(directory: string): Promise<Outcome> {
    return { kind: 'unpacked', files: await this.list(directory) };
  }

  /** All files below a directory, and itself. */
  async list(directory: string): Promise<readonly WalkedFile[]> {
    const { error, entries } = await this.request({ walk: directory });
    if (entries === undefined) throw new Error(`${directory} cannot be listed: ${error ?? ''}`);
    return entries;
  }

  private async request(request: unknown): Promise<Reply> {
    this.program.stdin?.write(`${JSON.stringify(request)}\n`);
    const reply = await this.replies.next();
    if (reply.done === true) throw new Error('the Go program has ended');
    return JSON.parse(reply.value) as Reply;
  }
}

/** The time in which both sides unpacked: what they did not set is in it. */
export interface Window {
  readonly from: bigint;
  readonly to: bigint;
}

const identityAttribute = Buffer.from('trusted.stratalog.layer').toString('hex');
const second = 1_000_000_000n;

/**
 * How our files differ from containerd's, one line for each; empty when they are the same. Times
 * that containerd did not set do not count, nor does what a format is documented not to hold.
 */
export function differences(
  ours: readonly WalkedFile[],
  theirs: readonly WalkedFile[],
  format: LayerFormat,
  window: Window,
): string[] {
  const [our, their] = [rowsOf(ours, format), rowsOf(theirs, format)];
  const lines: string[] = [];
  for (const name of new Set([...our.keys(), ...their.keys()])) {
    const [one, other] = [our.get(name), their.get(name)];
    if (one === undefined || other === undefined) {
      lines.push(`${name}: only ${one === undefined ? 'containerd has it' : 'we have it'}`);
      continue;
    }
    for (const key of Object.keys(other.shown)) {
      if (one.shown[key] === other.shown[key]) continue;
      lines.push(`${name}: ${key} is ${one.shown[key]}, in containerd ${other.shown[key]}`);
    }
    lines.push(...timeDifferences(name, one.file, other.file, format, window));
  }
  return lines;
}

interface Row {
  readonly file: WalkedFile;
  readonly shown: Readonly<Record<string, string>>;
}

function rowsOf(files: readonly WalkedFile[], format: LayerFormat): ReadonlyMap<string, Row> {
  const firstNames = new Map<string, string>();
  const rows = new Map<string, Row>();
  for (const file of files) {
    const name = textOf(file.name);
    const kind = file.mode & 0o170000;
    // squashfs has no hard links to symlinks.
    const canBeShared = kind !== 0o040000 && !(kind === 0o120000 && format === 'squashfs');
    const isShared = file.links > 1 && canBeShared;
    if (isShared && !firstNames.has(file.inode)) firstNames.set(file.inode, name);
    const attributes = Object.entries(file.attributes ?? {})
      .filter(([key]) => key !== identityAttribute)
      .map(([key, value]) => `${Buffer.from(key, 'hex').toString('latin1')}=${value}`)
      .sort();
    const shown = {
      mode: file.mode.toString(8),
      owner: `${file.uid}:${file.gid}`,
      device: file.device ?? '',
      size: String(file.size),
      content: file.content ?? '',
      target: textOf(file.target ?? ''),
      attributes: attributes.join(' '),
      links: isShared ? `${file.links} as ${firstNames.get(file.inode) ?? ''}` : '',
    };
    rows.set(name, { file, shown });
  }
  return rows;
}

/** The root has no time of its own: containerd leaves out entries for it. */
function timeDifferences(
  name: string,
  ours: WalkedFile,
  theirs: WalkedFile,
  format: LayerFormat,
  window: Window,
): string[] {
  const lines: string[] = [];
  const compare = (what: string, our: bigint, their: bigint): void => {
    if (their >= window.from && their <= window.to) return;
    const kept = storedAs(their, format);
    if (our !== kept) lines.push(`${name}: ${what} is ${our}, in containerd ${kept}`);
  };
  if (name === '') return lines;
  compare('modified', BigInt(ours.modified), BigInt(theirs.modified));
  // Images have no such time. Reading a directory or a link changes it.
  if (format === 'directory' && (theirs.mode & 0o170000) === 0o100000) {
    compare('accessed', BigInt(ours.accessed), BigInt(theirs.accessed));
  }
  return lines;
}

/** squashfs has whole seconds up to 2106. */
function storedAs(nanos: bigint, format: LayerFormat): bigint {
  if (format !== 'squashfs') return nanos;
  const seconds = nanos / second;
  return (seconds > 0xffff_ffffn ? 0xffff_ffffn : seconds) * second;
}

const textOf = (base64: string): string => Buffer.from(base64, 'base64').toString('latin1');

/** Now, with what the clock of file systems may lag behind. */
export const windowFrom = (begin: number): Window => {
  return {
    from: BigInt(begin) * 1_000_000n - second,
    to: BigInt(Date.now()) * 1_000_000n + second,
  };
};
