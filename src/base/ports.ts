/**
 * The ports to the operating system. `src/host` implements them; all other components receive them,
 * so that a simulation can replace time, disk and mounts.
 *
 * All promises reject with HostFault (a system call failed), TimeLimitPassed, or the signal's
 * reason.
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
   * `create` creates the file (0600) and fails with EEXIST if it exists. `read` fails with ENOENT
   * if it does not exist, and with EISDIR, ESPIPE or ENXIO if it is not a regular file.
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
   * Takes an exclusive lock without waiting; null if another process has it. Creates the file if it
   * does not exist. Fails with EISDIR, ESPIPE or ENXIO for a symlink and any other file that is not
   * regular.
   */
  lock(path: string): Promise<DiskLock | null>;
}

export interface DiskStat {
  readonly size: number;
  /** Device number (`st_dev`): distinguishes file systems while both are mounted. */
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
  /** `detach` unmounts lazily (MNT_DETACH). EINVAL if nothing is mounted there. */
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

/** Other processes, as in proc(5). Methods without a promise only read /proc and never block. */
export interface Processes {
  /** `ProcessId.startedAt`; null if there is no such process or it cannot be read. */
  startOf(pid: number): string | null;
  /** `unknown` if /proc cannot be read although the process may be running. */
  statusOf(process: ProcessId): 'running' | 'ended' | 'unknown';
  /**
   * Identifies the program of a process across restarts: its name and the first eight hex digits of
   * the SHA-256 of its command line, as in `containerd-9d530a4b`. Null if the process has ended.
   */
  programOf(pid: number, signal?: AbortSignal): Promise<string | null>;
  /** A running process other than this one, by `programOf`. */
  findProgram(program: string, signal?: AbortSignal): Promise<ProcessId | null>;
  /** Whether a process has the same mount namespace and root directory as this one. */
  mountViewOf(process: ProcessId): 'ours' | 'other' | 'unknown';
  /** The mount table of the process, with paths below its root directory. */
  mountsOf(pid: number, signal?: AbortSignal): Promise<readonly MountEntry[]>;
  /** The directories that the process does not see, or sees as another directory. */
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
  /** The clones that do not show their source, or show it without mapped ids. */
  missing(
    clones: readonly IdmappedClone[],
    signal?: AbortSignal,
  ): Promise<readonly IdmappedClone[]>;
  /**
   * Mounts the clones, replacing existing mounts. Maps as `<container id>:<host id>:<size>`,
   * comma-separated. Rejects with HostFault `mount_setattr` on a source whose file system has no
   * idmapped mounts; those before it in the list then exist.
   */
  attach(
    maps: { readonly uids: string; readonly gids: string },
    clones: readonly IdmappedClone[],
    signal?: AbortSignal,
  ): Promise<void>;
  /**
   * Unmounts the mountpoint and removes its directory, and the directory of its maps if that is
   * empty. Succeeds if it does not exist. Fails with ENOTEMPTY if it contains files.
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
 * The owner of a new `fs` directory. `kept` is for an existing `fs`: keeps its owner and mode, and
 * fails with ENOENT if it does not exist.
 */
export type DirectoryOwner = FileOwner | 'process' | 'kept';

/** What a walk over a snapshot's `fs` found. */
export interface MeasuredDirectory {
  readonly usage: Usage;
  /** The owner of `fs`, which a child's `fs` inherits. */
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
 * The parts of a snapshot's directory. A part is absent only on ENOENT; any other failure is
 * `unknown`, and no decision may depend on it.
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
 * `<root>/snapshots/<id>/{fs,work}`: the directories of the snapshots. Every call runs off the
 * event loop and is idempotent.
 */
export interface SnapshotDirectories {
  /** `<root>/snapshots/<id>/fs`. */
  fsPath(id: SnapshotId): string;
  workPath(id: SnapshotId): string;
  /**
   * Creates `<id>` (0700), `fs` (0755) and, with `work`, `work` (0711), whatever the umask. With
   * `durable`, the directories survive a power failure once this resolves.
   */
  prepare(
    id: SnapshotId,
    options: { readonly work: boolean; readonly owner: DirectoryOwner; readonly durable: boolean },
    signal?: AbortSignal,
  ): Promise<void>;
  /**
   * As `prepare` for several ids, each with `work` and owned by the process. Names that already
   * exist are left unchanged and are not in `made`.
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
   * Deletes `snapshots/<name>` and everything below it, durably. Succeeds if it does not exist.
   * Reads the mount table first: EBUSY while something is mounted at or below it. Never enters a
   * mount (EBUSY, or EXDEV before Linux 5.8). With `unlessUsed`, EBUSY also while a mount elsewhere
   * uses it (upperdir, lowerdir, bind source).
   */
  remove(
    name: string,
    signal?: AbortSignal,
    options?: { readonly unlessUsed: boolean },
  ): Promise<void>;
  /** Whether each entry is in use, in the order of the names. Never looks through a mount. */
  usesOf(names: readonly string[], signal?: AbortSignal): Promise<readonly DirectoryUse[]>;
  /**
   * Deletes `snapshots/<name>` with rmdir(2) if it is unused, in the same job as the check, and
   * returns `absent`. Otherwise returns how it is used and does not change it.
   */
  removeUnused(name: string, signal?: AbortSignal): Promise<DirectoryUse>;
  /** Whether `fs` exists: false only on ENOENT, else a HostFault. */
  hasFs(id: SnapshotId, signal?: AbortSignal): Promise<boolean>;
  /** With `namesOnly`, does not read each directory, which takes seconds if there are many. */
  list(
    signal?: AbortSignal,
    query?: { readonly namesOnly: boolean },
  ): Promise<readonly SnapshotDirectoryEntry[]>;
}
