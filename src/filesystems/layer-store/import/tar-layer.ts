/**
 * Unpacks one layer's tar into a directory as containerd's overlayfs snapshotter would have it: the
 * same calls in the same order (Apply in containerd's pkg/archive), so that a container sees the
 * same files whether a layer was pulled or came from the store. docs/layer-store.md lists the few
 * entries that are refused although containerd takes them.
 *
 * An upper layer keeps its whiteouts, as overlay wants them. A lowest layer is unpacked by other
 * rules: there a whiteout removes what the layer itself has put there before, and leaves nothing.
 *
 * The calls are synchronous, because an import has its own process and half a million small files
 * are three times faster this way.
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

import { errnoOf, UsageError } from '../../../base/errors.js';
import type { ByteString } from '../../../tar/byte-string.js';
import { bytesOf, readable } from '../../../tar/byte-string.js';
import { tarParts, zeros } from '../../../tar/entries.js';
import { TarReader } from '../../../tar/reader.js';
import type { TarHeader, TarPart } from '../../../tar/reader.js';
import {
  deviceNumber,
  lgetxattr,
  llistxattr,
  lsetxattr,
  lutimes,
  mknod,
} from '../../../host/files/xattrs.js';
import type { FormatLimits } from './format-limits.js';
import { layerFormats } from '../layout.js';
import { ImpliedDirectories } from './implied-directories.js';
import type { FindLowerDirectory } from './lower-directories.js';
import { componentsOf, LayerTarInvalid, lstat, RootedTree, unpackFault } from './rooted-tree.js';
import { isTrusted, opaqueAttribute, whiteoutOf } from './whiteouts.js';
import type { Whiteout } from './whiteouts.js';

export interface UnpackOptions {
  /** Whether the layer is the lowest of its chain. */
  readonly lowest: boolean;
  /** Where directories that the archive implies get their owner, mode and attributes from. */
  readonly findLower: FindLowerDirectory;
  readonly limits: FormatLimits;
  readonly entriesMax: number;
  /** Content of all files together, the holes of sparse ones included. */
  readonly contentBytesMax: number;
  /** Is called with what was left out and why. */
  readonly warn: (message: string) => void;
  readonly signal: AbortSignal;
}

export interface Unpacked {
  /** Whiteouts and opaque directories: by these, a lowest layer and an upper one differ. */
  readonly whiteouts: number;
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
const typeBits = { fifo: 0o010000, 'character-device': 0o020000, 'block-device': 0o060000 };
/** Linux has 12 bits for a major device number and 20 for a minor one. */
const deviceMax = { major: 0xfffn, minor: 0xf_ffffn };
/** Times that containerd keeps, in nanoseconds; others become 1970 (boundTime in its time.go). */
const timeMax = 2n ** 63n - 1n;
const warningsMax = 20;

/**
 * Unpacks a tar stream below `root`, an existing empty directory, and reads it to its end.
 *
 * Fails  LayerTarInvalid, TarInvalid for what the rules refuse; UsageError for what the format
 *        cannot hold; HostFault and errno errors of the file system (ENOSPC); the source's own
 */
export async function unpackLayer(
  source: AsyncIterable<Uint8Array>,
  root: string,
  options: UnpackOptions,
): Promise<Unpacked> {
  const reader = new TarReader();
  const unpacking = new Unpacking(reader, root, options);
  try {
    for await (const part of tarParts(reader, source)) await unpacking.take(part);
    unpacking.finish();
  } finally {
    unpacking.close();
  }
  return { whiteouts: unpacking.whiteouts };
}

/** A directory entry of the archive, whose times are set when nothing more is written into it. */
interface DirectoryTimes {
  /** Without `..`: that is taken off before symlinks are followed. */
  readonly name: ByteString;
  readonly accessed: bigint;
  readonly modified: bigint;
}

/** The file that content is written to. */
interface OpenFile {
  readonly header: TarHeader;
  readonly path: ByteString;
  readonly fd: number;
}

class Unpacking {
  whiteouts = 0;
  private readonly reader: TarReader;
  private readonly tree: RootedTree;
  private readonly options: UnpackOptions;
  private file: OpenFile | null = null;
  private entries = 0;
  private contentBytes = 0;
  private readonly directoryTimes: DirectoryTimes[] = [];
  /** Directories that were made although no entry named them. */
  private readonly implied = new ImpliedDirectories();
  /** Paths that entries of a lowest layer have named. */
  private readonly unpacked = new Set<ByteString>();
  private readonly warned = new Set<string>();
  private unreported = 0;

  constructor(reader: TarReader, root: string, options: UnpackOptions) {
    this.reader = reader;
    this.options = options;
    this.tree = new RootedTree(root);
  }

  async take(part: TarPart): Promise<void> {
    switch (part.kind) {
      case 'entry':
        await this.begin(part.header);
        return;
      case 'content':
        this.write(part.bytes);
        return;
      case 'zeros':
        for (const piece of zeros(part.count)) this.write(piece);
        return;
      case 'entry-end':
        this.end();
    }
  }

  /** Sets the times of directories, which each entry written into one has changed. */
  finish(): void {
    for (const [path, nanos] of this.implied.below(this.tree.root)) {
      this.setTimes(path, nanos, nanos);
    }
    // By name, not by path: containerd follows what has come in the place of a directory, too.
    for (const { name, accessed, modified } of this.directoryTimes) {
      try {
        this.setTimes(this.tree.resolve(name), accessed, modified);
      } catch (thrown) {
        throw unpackFault(name, thrown);
      }
    }
    this.setTimes(this.tree.root, 0n, 0n);
    if (this.unreported > 0) {
      this.options.warn(`${this.unreported} more attributes or times were left out`);
    }
  }

  close(): void {
    if (this.file !== null) closeSync(this.file.fd);
    this.file = null;
  }

  private async begin(header: TarHeader): Promise<void> {
    this.options.signal.throwIfAborted();
    this.entries += 1;
    if (this.entries > this.options.entriesMax) {
      throw new LayerTarInvalid(`the layer has more than ${this.options.entriesMax} entries`);
    }
    const components = componentsOf(header.name);
    const base = components.at(-1);
    // An entry for the root changes nothing: containerd leaves it out.
    if (base === undefined) {
      this.reader.skip();
      return;
    }
    try {
      const parent = await this.parent(components.slice(0, -1).join('/'));
      const whiteout = whiteoutOf(base);
      if (whiteout === null) this.create(header, `${parent}/${base}`);
      else this.convert(whiteout, parent, header);
    } catch (thrown) {
      throw unpackFault(header.name, thrown);
    }
    if (this.file === null) this.reader.skip();
  }

  /** The directory of an entry, made when the archive implies it. */
  private async parent(name: ByteString): Promise<ByteString> {
    const { path, missing } = this.tree.directory(name);
    for (const each of missing) await this.makeImplied(each);
    return path;
  }

  /** A directory that an entry is below gets what the layers below have, or 0755 and root. */
  private async makeImplied(path: ByteString): Promise<void> {
    const bytes = bytesOf(path);
    mkdirSync(bytes, { mode: 0o755 });
    chmodSync(bytes, 0o755);
    const lower = await this.options.findLower(this.tree.relative(path));
    this.implied.add(path, lower?.modified ?? 0n);
    if (lower === null) return;
    lchownSync(bytes, lower.uid, lower.gid);
    chmodSync(bytes, lower.mode);
    for (const [name, value] of lower.attributes) {
      if (!isTrusted(name)) this.copyAttribute(path, name, value);
    }
    if (lower.attributes.length > 0) this.requireHeld(path);
  }

  private convert(whiteout: Whiteout, parent: ByteString, header: TarHeader): void {
    this.whiteouts += 1;
    if (this.options.lowest) {
      if (whiteout.kind === 'opaque') this.removeImpliedBelow(parent);
      else if (lstat(`${parent}/${whiteout.hidden}`) !== null) {
        this.remove(`${parent}/${whiteout.hidden}`);
      }
      return;
    }
    if (whiteout.kind === 'opaque') {
      requireAttribute(bytesOf(parent), opaqueAttribute, 'y');
      return;
    }
    const path = `${parent}/${whiteout.hidden}`;
    try {
      mknod(bytesOf(path), typeBits['character-device'], 0);
    } catch (thrown) {
      if (errnoOf(thrown) !== 'EEXIST') throw thrown;
      throw new LayerTarInvalid('the layer itself has what it hides', { cause: thrown });
    }
    lchownSync(bytesOf(path), idOf(header.uid), idOf(header.gid));
    this.setTimes(path, 0n, 0n);
  }

  /**
   * An opaque mark in a lowest layer removes all below its directory that no entry has named. Each
   * entry is such a name, so what is left are directories that entries imply, with what is in them.
   */
  private removeImpliedBelow(directory: ByteString): void {
    for (const [path] of [...this.implied.below(directory)]) {
      if (!this.unpacked.has(path)) this.remove(path);
    }
  }

  private remove(path: ByteString): void {
    this.tree.remove(path);
    this.implied.remove(path);
  }

  private create(header: TarHeader, path: ByteString): void {
    const present = lstat(path);
    const isMerged = present?.isDirectory() === true && header.type === 'directory';
    if (present !== null && !isMerged) this.remove(path);
    if (this.options.lowest) this.unpacked.add(path);
    switch (header.type) {
      case 'file': {
        const fd = openSync(bytesOf(path), O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o600);
        this.file = { header, path, fd };
        return;
      }
      case 'directory':
        if (!isMerged) mkdirSync(bytesOf(path), { mode: 0o700 });
        this.directoryTimes.push({
          name: componentsOf(header.name).join('/'),
          ...timesOf(header),
        });
        break;
      case 'link':
        this.link(header, path);
        break;
      case 'symlink':
        symlinkSync(bytesOf(header.linkName), bytesOf(path));
        break;
      case 'character-device':
      case 'block-device':
        mknod(bytesOf(path), typeBits[header.type] | 0o600, deviceOf(header));
        break;
      case 'fifo':
        mknod(bytesOf(path), typeBits.fifo | 0o600, 0);
        break;
      case 'global-header':
        return;
      case 'other':
        throw new LayerTarInvalid(
          `containerd does not unpack entries of the type ${JSON.stringify(header.typeFlag)}`,
        );
    }
    this.setAttributes(header, path);
  }

  private write(bytes: Uint8Array): void {
    this.contentBytes += bytes.length;
    const { contentBytesMax } = this.options;
    if (this.contentBytes > contentBytesMax) {
      throw new LayerTarInvalid(
        `the layer unpacks to more than ${contentBytesMax} bytes; --max-size allows more`,
      );
    }
    if (this.file === null) return;
    for (let written = 0; written < bytes.length;) {
      written += writeSync(this.file.fd, bytes, written);
    }
  }

  private end(): void {
    if (this.file === null) return;
    const { header, path, fd } = this.file;
    this.file = null;
    closeSync(fd);
    try {
      this.setAttributes(header, path);
    } catch (thrown) {
      throw unpackFault(header.name, thrown);
    }
  }

  /**
   * Owner, extended attributes, mode, times, in containerd's order: chown clears setuid bits and
   * `security.capability`, chmod changes the mask of an ACL. Of a hard link this is a change of
   * the file that it shares.
   */
  private setAttributes(header: TarHeader, path: ByteString): void {
    const bytes = bytesOf(path);
    lchownSync(bytes, idOf(header.uid), idOf(header.gid));
    for (const [name, value] of header.attributes) this.setAttribute(header, path, name, value);
    if (header.attributes.size > 0) this.requireHeld(path);
    const isSymlink =
      header.type === 'symlink' ||
      (header.type === 'link' && lstat(path)?.isSymbolicLink() === true);
    if (!isSymlink) chmodSync(bytes, header.mode);
    const { accessed, modified } = timesOf(header);
    this.setTimes(path, accessed, modified);
  }

  /** What the file system or the kind of file cannot have is left out, as containerd does. */
  private setAttribute(
    header: TarHeader,
    path: ByteString,
    name: ByteString,
    value: Uint8Array,
  ): void {
    if (isTrusted(name)) {
      this.reportAttribute(header.name, name, 'no layer may set trusted attributes');
      return;
    }
    try {
      lsetxattr(bytesOf(path), bytesOf(name), value);
    } catch (thrown) {
      if (!isUnsupported(thrown) && !isUserAttributeOfOther(thrown, path, name)) throw thrown;
      this.reportAttribute(header.name, name, errnoOf(thrown) ?? 'unsupported');
    }
  }

  /** Copies an attribute of a lower directory, unless the new one has inherited its own. */
  private copyAttribute(path: ByteString, name: ByteString, value: Uint8Array): void {
    try {
      lsetxattr(bytesOf(path), bytesOf(name), value, { create: true });
    } catch (thrown) {
      if (errnoOf(thrown) === 'EEXIST') return;
      if (!isUnsupported(thrown)) throw thrown;
      this.reportAttribute(this.tree.relative(path), name, errnoOf(thrown) ?? 'unsupported');
    }
  }

  /** Refuses a file with attributes that the format would lose, inherited ones included. */
  private requireHeld(path: ByteString): void {
    const { attributeFault, format } = this.options.limits;
    if (attributeFault === null) return;
    const fault = attributeFault(
      llistxattr(bytesOf(path)).map((name) => {
        return { name, bytes: lgetxattr(bytesOf(path), bytesOf(name))?.length ?? 0 };
      }),
    );
    if (fault === null) return;
    throw new UsageError(
      `${readable(this.tree.relative(path))} has ${fault}, which ${format} cannot hold: ` +
        `import the layer with --format ${layerFormats.filter((each) => each !== format).join(' or ')}`,
    );
  }

  private setTimes(path: ByteString, accessed: bigint, modified: bigint): void {
    const { limits } = this.options;
    const stored = limits.storedTime(modified);
    // squashfs never keeps fractions of a second, as documented.
    if (modified - stored >= 1_000_000_000n) {
      this.report(
        `the time of ${readable(this.tree.relative(path))} is later than ${limits.format} can hold`,
      );
    }
    lutimes(bytesOf(path), limits.storedTime(accessed), stored);
  }

  private reportAttribute(entry: ByteString, name: ByteString, why: string): void {
    this.report(`attribute ${readable(name)} of ${readable(entry)} was left out: ${why}`);
  }

  /** A layer with a million such entries does not become a million lines. */
  private report(message: string): void {
    if (this.warned.has(message)) return;
    if (this.warned.size >= warningsMax) {
      this.unreported += 1;
      return;
    }
    this.warned.add(message);
    this.options.warn(message);
  }

  /** Shares a file of the layer. A symlink is shared itself, not followed; its parents are. */
  private link(header: TarHeader, path: ByteString): void {
    const slash = header.linkName.lastIndexOf('/') + 1;
    const base = header.linkName.slice(slash);
    const directory = this.tree.resolve(header.linkName.slice(0, slash));
    // As filepath.Join has it: `f/.` is f, also where f is a file.
    const target = base === '' || base === '.' ? directory : `${directory}/${base}`;
    const stats = base === '..' ? null : lstat(target);
    if (base === '..' || stats?.isDirectory() === true) {
      throw new LayerTarInvalid('it is a hard link to a directory');
    }
    if (stats === null) {
      throw new LayerTarInvalid(
        `it is a hard link to ${readable(header.linkName)}, which is not in the layer`,
      );
    }
    const { limits } = this.options;
    if (stats.isSymbolicLink() && !limits.linksSymlinks) {
      this.report(
        `${readable(header.name)} and ${readable(header.linkName)} are one symlink, and become two: ${limits.format} has no hard links to symlinks`,
      );
    }
    linkSync(bytesOf(target), bytesOf(path));
  }
}

/** An owner as lchown(2) takes it: the lower 32 bits, of which all set leaves the owner as it is. */
const idOf = (id: bigint): number => Number(BigInt.asUintN(32, id));

/** Fails with LayerTarInvalid for a number that would be cut, and name another device. */
function deviceOf({ device: { major, minor } }: TarHeader): bigint {
  if (major < 0n || major > deviceMax.major || minor < 0n || minor > deviceMax.minor) {
    throw new LayerTarInvalid(`there is no device ${major}:${minor} on Linux`);
  }
  return deviceNumber(Number(major), Number(minor));
}

/** The times that a file gets: it is never read for the last time before it was written. */
function timesOf({ accessed, modified }: TarHeader): { accessed: bigint; modified: bigint } {
  const latest = accessed !== null && accessed > modified ? accessed : modified;
  return { accessed: bounded(latest), modified: bounded(modified) };
}

const bounded = (nanos: bigint): bigint => (nanos < 0n || nanos > timeMax ? 0n : nanos);

/** Only files and directories have attributes of users (xattr(7)). */
function isUserAttributeOfOther(thrown: unknown, path: ByteString, name: ByteString): boolean {
  if (errnoOf(thrown) !== 'EPERM' || !name.startsWith('user.')) return false;
  const stats = lstat(path);
  return stats !== null && !stats.isFile() && !stats.isDirectory();
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

/** Whether the file system does not support such attributes. */
export function isUnsupported(thrown: unknown): boolean {
  const code = errnoOf(thrown);
  return code === 'EOPNOTSUPP' || code === 'ENOTSUP';
}
