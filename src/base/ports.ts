/**
 * What the world must offer. Only `src/host` implements these with the real operating system;
 * everybody else is handed them, so that a simulation can stand in for time, disk and mounts.
 *
 * All promises reject with HostFault (the system said no), TimeLimitPassed, or the signal's reason.
 */
import type { SnapshotId, UnixNanos, Usage } from './units.js';

export interface Clock {
  /** The real-time clock with all its nanoseconds. May step backwards. */
  now(): UnixNanos;
  /**
   * Never steps backwards and has no relation to the time of day. Goes on while the machine is
   * suspended, so that a resume does not look like a step of the real-time clock.
   */
  monotonicMillis(): number;
  /** Calls back once after the delay. The returned function cancels. Does not keep the process alive. */
  schedule(delayMillis: number, callback: () => void): () => void;
}

/** Files and directories as the log needs them. Paths are absolute. */
export interface Disk {
  /**
   * `create` makes the file (0600) and fails with EEXIST when it is there. `read` fails with
   * ENOENT when the name is not there, and with EISDIR, ESPIPE or ENXIO when it leads to no
   * regular file.
   */
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile>;
  /** Names in a directory, unsorted. ENOENT when there is none. */
  list(directory: string): Promise<readonly string[]>;
  stat(path: string): Promise<DiskStat>;
  /** What identifies the file system that a directory is on. ENOENT when there is none. */
  fileSystem(directory: string): Promise<FileSystemFacts>;
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /**
   * Takes an exclusive lock without waiting; null when another process has it. Makes the file
   * when it is not there, and fails with EISDIR, ESPIPE or ENXIO for a link and for whatever else
   * is no regular file.
   */
  lock(path: string): Promise<DiskLock | null>;
}

export interface DiskStat {
  readonly size: number;
  /** Device number (`st_dev`): tells two file systems apart while both are mounted. */
  readonly device: bigint;
  readonly isDirectory: boolean;
}

/** The file system of a directory, and the mount that shows it. */
export interface FileSystemFacts {
  /** `ext4`, `xfs`, `btrfs`, `nfs` …; the magic number of statfs(2) in hex for rare ones. */
  readonly type: string;
  /**
   * Stays the same as long as the file system exists: its UUID, on btrfs followed by a slash and
   * the number of the subvolume. Null where it has none, or none that can be read.
   */
  readonly id: string | null;
  /** `st_dev`. Assigned at mount time: after a reboot it may be another file system's. */
  readonly device: bigint;
  /** Number of the mount in this mount namespace. Differs from the parent's at a mount point. */
  readonly mountId: number;
}

export interface DiskFile {
  readonly path: string;
  size(): Promise<number>;
  /** Fills the buffer from the offset; answers fewer bytes only at the end of the file. */
  read(into: Uint8Array, offset: number): Promise<number>;
  /** Writes all of it; not durable before `sync`. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** One write and one fdatasync as a single hop: durable when it resolves. */
  writeDurably(bytes: Uint8Array, offset: number): Promise<void>;
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface DiskLock {
  release(): Promise<void>;
}

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), octal escapes undone. */
export interface MountEntry {
  readonly mountId: number;
  readonly parentMountId: number;
  /** `major:minor` of the mounted file system. */
  readonly device: string;
  /** The directory within that file system that forms the root of this mount. */
  readonly root: string;
  readonly mountpoint: string;
  readonly options: readonly string[];
  readonly fileSystemType: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

export interface MountRequest {
  readonly type: string;
  readonly source: string;
  readonly mountpoint: string;
  /** As on a mount(8) command line: `ro`, `bind`, `rbind`, `nodev` … and data such as `device=…`. */
  readonly options: readonly string[];
}

export interface MountTable {
  read(signal?: AbortSignal): Promise<readonly MountEntry[]>;
  mount(request: MountRequest, signal?: AbortSignal): Promise<void>;
  /** `detach` gives up a busy mount lazily (MNT_DETACH). EINVAL when nothing is mounted there. */
  unmount(
    mountpoint: string,
    options: { readonly detach: boolean },
    signal?: AbortSignal,
  ): Promise<void>;
}

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Who owns a new `fs` directory. `like` copies uid and gid from another directory; `kept` is for
 * an `fs` that stands already: its owner and mode stay as they are, and ENOENT when it is gone.
 */
export type DirectoryOwner = FileOwner | { readonly like: string } | 'process' | 'kept';

/** What a walk over a snapshot's `fs` found. */
export interface MeasuredDirectory {
  readonly usage: Usage;
  /** Of `fs` itself: what a child's `fs` will be owned by. */
  readonly owner: FileOwner;
}

export interface SnapshotDirectoryEntry {
  readonly name: string;
  /** The id when the name is a plain decimal number, else null (`new-…`, a stranger's file). */
  readonly id: SnapshotId | null;
  readonly isDirectory: boolean;
  /** Whether `fs` stands in it; null when nobody looked. */
  readonly hasFs: boolean | null;
  /** Whether `work` stands in it; null when nobody looked. Only active snapshots need one. */
  readonly hasWork: boolean | null;
}

/**
 * `<root>/snapshots/<id>/{fs,work}`: the directories behind the snapshots. Every call runs off
 * the event loop and may be repeated without harm.
 */
export interface SnapshotDirectories {
  /** `<root>/snapshots/<id>/fs`. */
  fsPath(id: SnapshotId): string;
  workPath(id: SnapshotId): string;
  /**
   * Makes `<id>` 0700, `fs` 0755 whatever the umask, and `work` 0711 when asked for.
   * With `durable`, the directories survive a power cut when this resolves. Answers the owner
   * that `fs` has now.
   */
  prepare(
    id: SnapshotId,
    options: { readonly work: boolean; readonly owner: DirectoryOwner; readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<FileOwner>;
  /**
   * The same for several at once, each with `work` and owned by the process. Where something of
   * that name stands already, it is left alone, and the id is not among those that were made.
   */
  prepareSpares(
    ids: readonly SnapshotId[],
    options: { readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<{ readonly owner: FileOwner; readonly made: readonly SnapshotId[] }>;
  /** Blocks by `st_blocks * 512`, each (device, inode) once, the root directory included. */
  measure(id: SnapshotId, signal?: AbortSignal): Promise<MeasuredDirectory>;
  /** Makes all data of the file system that holds the snapshots durable (syncfs(2)). */
  syncFileSystem(signal?: AbortSignal): Promise<void>;
  /** Empties `fs` after a failed remote mount. Refuses with EBUSY while something is mounted there. */
  empty(id: SnapshotId, signal?: AbortSignal): Promise<void>;
  /**
   * Deletes `snapshots/<name>` and all below it. Looks at the mount table first: EBUSY while
   * something is mounted at or below it. Never crosses onto another device (EXDEV).
   * An absent directory is success.
   */
  remove(name: string, signal?: AbortSignal): Promise<void>;
  /** With `namesOnly`, it need not look into each: that takes seconds when there are many. */
  list(
    signal?: AbortSignal,
    wish?: { readonly namesOnly: boolean },
  ): Promise<readonly SnapshotDirectoryEntry[]>;
}
