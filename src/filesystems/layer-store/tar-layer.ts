/**
 * Unpacks one layer's tar into a staging directory, in the form overlay wants: ownership, times
 * to the nanosecond, extended attributes, devices and hard links kept, whiteouts converted.
 *
 * Whiteouts wait until the last entry: an entry of the same layer always wins over them, and a
 * lowest layer must hold none (overlay would show them as broken files, having nothing to hide).
 * Times of directories wait too, since each entry written into one changes them.
 *
 * The calls are synchronous. An import is a process of its own that serves nobody else, and half
 * a million small files are three times faster this way.
 */
import {
  chmodSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
} from 'node:fs';
import { symlinkSync, writeSync } from 'node:fs';

import { errnoOf } from '../../base/errors.js';
import { componentsOf, ContainedTree, lstat } from './contained-tree.js';
import { deviceNumber, lsetxattr, lutimes, mknod } from '../../host/xattrs.js';
import type { FindLowerDirectory } from './lower-directories.js';
import type { ByteString, TarEntry } from './tar-entries.js';
import { bytesOf, LayerTarInvalid, readable, readTarEntries, skip } from './tar-entries.js';
import { isReservedAttribute, meaningOf, opaqueAttribute } from './whiteouts.js';

export interface UnpackOptions {
  /** Whether there are layers below, asked when the tar was read: a lowest layer hides nothing. */
  readonly hasParent: () => boolean;
  /** Where directories get their look from that the archive implies but does not hold. */
  readonly findLower: FindLowerDirectory;
  /** Times are cut to what squashfs can hold: seconds from 1970 to 2106. */
  readonly wholeSeconds: boolean;
  readonly entriesMax: number;
  /** Hears of what was left out and why. */
  readonly warn: (message: string) => void;
  readonly signal: AbortSignal;
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
const typeBits = { fifo: 0o010000, 'character-device': 0o020000, 'block-device': 0o060000 };

/**
 * Unpacks a tar stream below `root`, an existing empty directory.
 *
 * Fails  LayerTarInvalid for what the rules refuse; HostFault and errno errors of the file system
 *        (ENOSPC, EOPNOTSUPP for attributes it cannot hold); the source's own errors.
 */
export async function unpackLayer(
  source: AsyncIterable<Uint8Array>,
  root: string,
  options: UnpackOptions,
): Promise<void> {
  const unpacking = new Unpacking(root, options);
  let entries = 0;
  for await (const entry of readTarEntries(source)) {
    options.signal.throwIfAborted();
    entries += 1;
    if (entries > options.entriesMax) {
      throw new LayerTarInvalid(`the layer has more than ${options.entriesMax} entries`);
    }
    await unpacking.take(entry);
  }
  await unpacking.finish();
}

class Unpacking {
  private readonly tree: ContainedTree;
  private readonly options: UnpackOptions;
  /** Paths that `.wh.` names hide. */
  private readonly hidden = new Set<ByteString>();
  private readonly opaque = new Set<ByteString>();
  private readonly directoryTimes = new Map<ByteString, bigint>();
  private readonly warned = new Set<string>();

  constructor(root: string, options: UnpackOptions) {
    this.options = options;
    this.tree = new ContainedTree(root);
    this.directoryTimes.set(this.tree.root, 0n);
  }

  async take(entry: TarEntry): Promise<void> {
    const components = componentsOf(entry.name);
    const meaning = meaningOf(components);
    if (meaning.kind === 'entry') {
      await this.write(entry, components);
      return;
    }
    if (meaning.kind !== 'ignored') {
      const parent = this.tree.directory(components.slice(0, -1));
      if (meaning.kind === 'opaque') this.opaque.add(parent);
      else this.hidden.add(`${parent}/${meaning.hidden}`);
    }
    await skip(entry.content);
  }

  /** Whiteouts, opaque marks, the look of implied directories, and times of directories. */
  async finish(): Promise<void> {
    // Sorted, so that a directory is known to be opaque before what it hides comes up.
    if (this.options.hasParent()) for (const path of [...this.hidden].sort()) this.hide(path);
    for (const path of this.tree.implied) await this.dressImplied(path);
    for (const path of this.opaque) {
      // A later entry may have put something else in the directory's place.
      if (isDirectory(path)) requireAttribute(bytesOf(path), opaqueAttribute, 'y');
    }
    for (const [path, nanos] of this.directoryTimes) {
      if (isDirectory(path)) this.setTime(path, nanos);
    }
  }

  private hide(path: ByteString): void {
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (this.opaque.has(parent)) return;
    const present = lstat(path);
    if (present === null) {
      if (!isDirectory(parent)) return;
      mknod(bytesOf(path), typeBits['character-device'] | 0o600, 0);
      this.setTime(path, 0n);
    } else if (present.isDirectory()) {
      // Hidden below and new here: the new directory must not be merged with the old one.
      this.opaque.add(path);
    }
  }

  /** Overlay shows the look of the topmost directory: one that is only on the way keeps the old. */
  private async dressImplied(path: ByteString): Promise<void> {
    if (this.directoryTimes.has(path) || !isDirectory(path)) return;
    const look = await this.options.findLower(this.tree.relative(path).split('/'));
    this.directoryTimes.set(path, look?.modifiedNanos ?? 0n);
    if (look === null) return;
    lchownSync(bytesOf(path), look.uid, look.gid);
    chmodSync(bytesOf(path), look.mode);
    for (const [name, value] of look.attributes) {
      if (!isReservedAttribute(name)) lsetxattr(bytesOf(path), name, value);
    }
  }

  private async write(entry: TarEntry, components: readonly ByteString[]): Promise<void> {
    if (components.length === 0) {
      await this.takeRoot(entry);
      return;
    }
    const parent = this.tree.directory(components.slice(0, -1));
    const path = `${parent}/${components.at(-1) ?? ''}`;
    const linked = entry.type === 'link' ? this.linkTarget(entry) : null;
    const present = lstat(path);
    if (present !== null && linked !== path) {
      if (!(present.isDirectory() && entry.type === 'directory')) this.tree.clear(path);
    }
    if (entry.type === 'link') {
      if (linked !== null && linked !== path) linkSync(bytesOf(linked), bytesOf(path));
      await skip(entry.content);
      return;
    }
    await this.make(entry, path, present?.isDirectory() === true);
    this.dress(entry, path);
  }

  private async takeRoot(entry: TarEntry): Promise<void> {
    if (entry.type !== 'directory') {
      throw new LayerTarInvalid('the root of the layer is not a directory');
    }
    await skip(entry.content);
    this.dress(entry, this.tree.root);
  }

  private async make(entry: TarEntry, path: ByteString, isDirectory: boolean): Promise<void> {
    const bytes = bytesOf(path);
    switch (entry.type) {
      case 'file':
        await writeContent(bytes, entry.content);
        return;
      case 'directory':
        if (!isDirectory) mkdirSync(bytes, { mode: 0o700 });
        break;
      case 'symlink':
        if (entry.linkName === '') {
          throw new LayerTarInvalid(`${readable(entry.name)} is a symlink to nothing`);
        }
        symlinkSync(bytesOf(entry.linkName), bytes);
        break;
      case 'character-device':
      case 'block-device':
        mknod(
          bytes,
          typeBits[entry.type] | 0o600,
          deviceNumber(entry.device.major, entry.device.minor),
        );
        break;
      case 'fifo':
        mknod(bytes, typeBits.fifo | 0o600, 0);
        break;
      case 'link':
        throw new LayerTarInvalid(`${readable(entry.name)} was taken for another type`);
    }
    await skip(entry.content);
  }

  /** Owner, then mode, then attributes: chown clears setuid bits and `security.capability`. */
  private dress(entry: TarEntry, path: ByteString): void {
    const bytes = bytesOf(path);
    lchownSync(bytes, entry.uid, entry.gid);
    if (entry.type !== 'symlink') chmodSync(bytes, entry.mode);
    for (const [name, value] of entry.attributes) this.dressWith(entry, bytes, name, value);
    if (entry.type === 'directory') this.directoryTimes.set(path, entry.modifiedNanos);
    else this.setTime(path, entry.modifiedNanos);
  }

  private setTime(path: ByteString, nanos: bigint): void {
    const time = this.options.wholeSeconds ? squashfsTime(nanos) : nanos;
    lutimes(bytesOf(path), time, time);
  }

  private dressWith(entry: TarEntry, path: Buffer, name: ByteString, value: Buffer): void {
    if (isReservedAttribute(name)) {
      this.warnOnce(
        `attribute ${readable(name)} of ${readable(entry.name)} was left out: reserved`,
      );
      return;
    }
    try {
      lsetxattr(path, readable(name), value);
    } catch (thrown) {
      // What the file system or the kind of file cannot hold is left out, as containerd does.
      if (!isUnsupported(thrown) && errnoOf(thrown) !== 'EPERM') throw thrown;
      const code = errnoOf(thrown) ?? 'unsupported';
      this.warnOnce(`attribute ${readable(name)} of ${readable(entry.name)} was left out: ${code}`);
    }
  }

  private warnOnce(message: string): void {
    // A layer with a million such entries must not become a million lines.
    if (this.warned.size >= 20 || this.warned.has(message)) return;
    this.warned.add(message);
    this.options.warn(message);
  }

  /** The path that a hard link is to share. Symlinks are linked themselves, not followed. */
  private linkTarget(entry: TarEntry): ByteString {
    const components = componentsOf(entry.linkName);
    const target = this.tree.existing(components);
    if (target === null) {
      throw new LayerTarInvalid(
        `${readable(entry.name)} is a hard link to ${readable(entry.linkName)}, which is not in the layer`,
      );
    }
    if (target.stats.isDirectory()) {
      throw new LayerTarInvalid(`${readable(entry.name)} is a hard link to a directory`);
    }
    return target.path;
  }
}

/**
 * Sets a trusted attribute without which the layer would be wrong.
 *
 * Fails  Error that says what to do where the file system has no trusted attributes.
 */
export function requireAttribute(path: string | Buffer, name: string, value: string): void {
  try {
    lsetxattr(path, name, Buffer.from(value));
  } catch (thrown) {
    if (!isUnsupported(thrown)) throw thrown;
    throw new Error(
      `the file system of the store cannot hold the attribute ${name}: ` +
        'import into a store on a local file system, and copy that with cp -a',
      { cause: thrown },
    );
  }
}

/** Whether a file system said that it has no such attributes. */
export function isUnsupported(thrown: unknown): boolean {
  const code = errnoOf(thrown);
  return code === 'EOPNOTSUPP' || code === 'ENOTSUP';
}

const isDirectory = (path: ByteString): boolean => lstat(path)?.isDirectory() === true;

/** squashfs would wrap round what is out of its range, and show 1960 as 2096. */
function squashfsTime(nanos: bigint): bigint {
  const seconds = nanos / 1_000_000_000n;
  const secondsMax = 0xffff_ffffn;
  return (seconds < 0n ? 0n : seconds > secondsMax ? secondsMax : seconds) * 1_000_000_000n;
}

async function writeContent(path: Buffer, content: AsyncIterable<Buffer>): Promise<void> {
  const fd = openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o600);
  try {
    for await (const piece of content) {
      for (let written = 0; written < piece.length;) {
        written += writeSync(fd, piece, written);
      }
    }
  } finally {
    closeSync(fd);
  }
}
