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
  /** The peer group to which mounts made below it propagate (`shared:N`); null for none. */
  readonly peerGroup: number | null;
  /** The peer group from which it receives mounts (`master:N`); null for none. */
  readonly master: number | null;
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

/**
 * One process, whatever becomes of its pid afterwards. `startedAt` is `<boot>-<ticks>`: the first
 * eight digits of the kernel's boot id, and the clock ticks from boot to its start
 * (proc_pid_stat(5), field 22).
 */
export interface ProcessId {
  readonly pid: number;
  readonly startedAt: string;
}

/** Other processes, as proc(5) shows them. What does not return a promise reads /proc alone and never waits. */
export interface Processes {
  /** `ProcessId.startedAt` of a process; null when there is none with this pid, or it cannot be read. */
  startOf(pid: number): string | null;
  /** `unknown` when /proc could not be read for another reason than that the process is gone. */
  statusOf(process: ProcessId): 'running' | 'ended' | 'unknown';
  /**
   * What a process runs, the same again after it was restarted: its name and the first eight hex
   * digits of the SHA-256 of its command line, as in `containerd-9d530a4b`. Null when it is gone.
   */
  programOf(pid: number, signal?: AbortSignal): Promise<string | null>;
  /** A running process other than this one, by `programOf`. */
  findProgram(program: string, signal?: AbortSignal): Promise<ProcessId | null>;
  /** Whether a process finds every path as this one does: same mount namespace, same root directory. */
  mountViewOf(process: ProcessId): 'ours' | 'other' | 'unknown';
  /** The mount table of the process, with paths below its root directory. */
  mountsOf(pid: number, signal?: AbortSignal): Promise<readonly MountEntry[]>;
  /** Of the directories, those whose path leads the process to another directory than this one, or to none. */
  hiddenFrom(
    pid: number,
    directories: readonly string[],
    signal?: AbortSignal,
  ): Promise<readonly string[]>;
}

/** A read-only mount that shows another one, or a directory in one, with mapped ids. */
export interface IdmappedClone {
  readonly source: string;
  /** `<directory>/<maps>/<name>`. */
  readonly mountpoint: string;
  /** The source is a mount of its own, and is cloned with the mounts below it. */
  readonly isMount: boolean;
}

/** Idmapped mounts (mount_setattr(2)) below one directory, in a directory for each pair of maps. */
export interface IdmappedMounts {
  readonly directory: string;
  /** Those that do not show their source, or show it without mapped ids. */
  missing(
    clones: readonly IdmappedClone[],
    signal?: AbortSignal,
  ): Promise<readonly IdmappedClone[]>;
  /**
   * Makes them, in place of what is mounted there. Maps as `<container id>:<host id>:<size>`,
   * comma-separated. Rejects with HostFault `mount_setattr` on a source whose file system has no
   * idmapped mounts; those before it in the list then exist.
   */
  attach(
    maps: { readonly uids: string; readonly gids: string },
    clones: readonly IdmappedClone[],
    signal?: AbortSignal,
  ): Promise<void>;
  /**
   * Unmounts what is on the mountpoint and removes its directory, and the directory of its maps
   * when it was the last one. An absent one is success. HostFault ENOTEMPTY: files are in the way.
   */
  detach(mountpoint: string, signal?: AbortSignal): Promise<void>;
  /** `<maps>` and `<maps>/<name>` for all that is below the directory. */
  list(signal?: AbortSignal): Promise<readonly string[]>;
}

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Who owns a new `fs` directory. `kept` is for an `fs` that stands already: its owner and mode
 * stay as they are, and ENOENT when it is gone.
 */
export type DirectoryOwner = FileOwner | 'process' | 'kept';

/** What a walk over a snapshot's `fs` found. */
export interface MeasuredDirectory {
  readonly usage: Usage;
  /** Of `fs` itself: what a child's `fs` will be owned by. */
  readonly owner: FileOwner;
}

export interface SnapshotDirectoryEntry {
  readonly name: string;
  /** The id when the name is a plain decimal number, else null (`new-…`, a foreign file). */
  readonly id: SnapshotId | null;
  readonly isDirectory: boolean;
  readonly parts: DirectoryParts;
}

/** A system call that failed: what is at the path is not known. */
export interface FailedScan {
  readonly operation: string;
  readonly path: string;
  /** The errno's name. */
  readonly code: string;
}

/**
 * Which parts a snapshot's directory has. Absent is what the file system says is absent (ENOENT);
 * a look that failed in any other way is `unknown`, and no decision may rest on it.
 */
export type DirectoryParts =
  /** Only the names were requested. */
  | { readonly kind: 'unchecked' }
  /** Only active snapshots need `work`. */
  | { readonly kind: 'seen'; readonly fs: boolean; readonly work: boolean }
  /** Something is mounted on the directory itself: what is under it cannot be seen. */
  | { readonly kind: 'hidden' }
  | ({ readonly kind: 'unknown' } & FailedScan);

/** Whether a directory is in use, as far as its content and the mount table show. */
export type DirectoryUse =
  | { readonly kind: 'absent' }
  /** `fs` is empty, `work` holds at most overlayfs's own empty directories, no mount uses it. */
  | { readonly kind: 'unused' }
  | {
      readonly kind: 'used';
      /** `mount` decides: while a mount uses it, its content is not looked at. */
      readonly by: 'content' | 'mount';
      readonly evidence: string;
    }
  | ({ readonly kind: 'unknown' } & FailedScan);

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
   * With `durable`, the directories survive a power cut when this resolves.
   */
  prepare(
    id: SnapshotId,
    options: { readonly work: boolean; readonly owner: DirectoryOwner; readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<void>;
  /**
   * The same for several at once, each with `work` and owned by the process. Where something of
   * that name stands already, it is left alone, and the id is not among those that were made.
   */
  preallocateDirectories(
    ids: readonly SnapshotId[],
    options: { readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<{ readonly owner: FileOwner; readonly made: readonly SnapshotId[] }>;
  /** Blocks by `st_blocks * 512`, each (device, inode) once, the root directory included. */
  measure(id: SnapshotId, signal?: AbortSignal): Promise<MeasuredDirectory>;
  /** Of `fs`, or of the layer that is mounted on it. */
  ownerOf(id: SnapshotId, signal?: AbortSignal): Promise<FileOwner>;
  /** Makes all data of the file system that holds the snapshots durable (syncfs(2)). */
  syncFileSystem(signal?: AbortSignal): Promise<void>;
  /** Empties `fs` after a failed remote mount. Refuses with EBUSY while something is mounted there. */
  empty(id: SnapshotId, signal?: AbortSignal): Promise<void>;
  /**
   * Deletes `snapshots/<name>` and all below it. Looks at the mount table first: EBUSY while
   * something is mounted at or below it. Never enters a mount (EBUSY, or EXDEV before Linux 5.8).
   * Durable when it resolves. An absent directory is success. With `unlessUsed`, EBUSY also while a mount elsewhere uses it
   * (upperdir, lowerdir, bind source).
   */
  remove(
    name: string,
    signal?: AbortSignal,
    options?: { readonly unlessUsed: boolean },
  ): Promise<void>;
  /** Whether each entry is in use, in the order of the names. Never looks through a mount. */
  usesOf(names: readonly string[], signal?: AbortSignal): Promise<readonly DirectoryUse[]>;
  /**
   * Deletes `snapshots/<name>` by rmdir(2) if it is unused, in one step with the look, and answers
   * `absent` then. Otherwise answers how it is used, and leaves it as it is.
   */
  removeUnused(name: string, signal?: AbortSignal): Promise<DirectoryUse>;
  /** Whether `fs` exists: false only on ENOENT, else a HostFault. */
  hasFs(id: SnapshotId, signal?: AbortSignal): Promise<boolean>;
  /** With `namesOnly`, it need not look into each: that takes seconds when there are many. */
  list(
    signal?: AbortSignal,
    query?: { readonly namesOnly: boolean },
  ): Promise<readonly SnapshotDirectoryEntry[]>;
}
