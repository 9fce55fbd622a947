/**
 * An idmapped mount: a clone of a mount, or of a directory in one, with mapped file owners
 * (mount_setattr(2), Linux 5.12). Use it on worker threads only.
 */
import * as fs from 'node:fs';
import { checked, cString, libraryCall } from '../libc.js';

// Older C libraries have no wrappers. From 424 on, system call numbers are the same everywhere.
const openTree = libraryCall('long syscall(long number, int at, const void *path, long flags)');
const moveMount = libraryCall(
  'long syscall(long number, int from, const void *name, int to, const void *path, long flags)',
);
const setAttributes = libraryCall(
  'long syscall(long number, int at, const void *path, long flags, const void *attributes, size_t size)',
);
const numberOf = { openTree: 428, moveMount: 429, mountSetattr: 442 } as const;

const currentDirectory = -100; // AT_FDCWD
const emptyPath = 0x1000; // AT_EMPTY_PATH
const recursively = 0x8000; // AT_RECURSIVE
const cloneTree = 1; // OPEN_TREE_CLONE
const closeOnExec = 0o2000000;
const moveFromDescriptor = 4; // MOVE_MOUNT_F_EMPTY_PATH
const readOnly = 1n; // MOUNT_ATTR_RDONLY
const idmap = 0x00100000n; // MOUNT_ATTR_IDMAP
const isPrivate = 1n << 18n; // MS_PRIVATE

export interface IdmappedCloneOptions {
  readonly source: string;
  /** An existing directory. */
  readonly mountpoint: string;
  /** Descriptor of the user namespace whose maps apply. */
  readonly namespace: number;
  /** Includes the mounts below the source, each of which must support idmapping. */
  readonly recursive: boolean;
}

/**
 * Attaches a read-only clone. It is private: later mounts on the source do not appear in it.
 *
 * @throws HostFault: `mount_setattr` with EINVAL if the file system has no idmapped mounts
 */
export function attachIdmappedClone(options: IdmappedCloneOptions): void {
  const { source, mountpoint, namespace, recursive } = options;
  const below = recursive ? recursively : 0;
  const tree = checked(
    'open_tree',
    source,
    openTree,
    numberOf.openTree,
    currentDirectory,
    cString(source),
    cloneTree | closeOnExec | below,
  );
  try {
    // struct mount_attr: set, clear, propagation, user namespace.
    const attributes = new BigUint64Array([idmap | readOnly, 0n, isPrivate, BigInt(namespace)]);
    const bytes = new Uint8Array(attributes.buffer);
    const nothing = cString('');
    checked(
      'mount_setattr',
      source,
      setAttributes,
      numberOf.mountSetattr,
      tree,
      nothing,
      emptyPath | below,
      bytes,
      bytes.length,
    );
    checked(
      'move_mount',
      mountpoint,
      moveMount,
      numberOf.moveMount,
      tree,
      nothing,
      currentDirectory,
      cString(mountpoint),
      moveFromDescriptor,
    );
  } finally {
    fs.closeSync(tree);
  }
}
