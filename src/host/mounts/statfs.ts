/** statfs(2). It may hang on a remote mount. */
import { checked, cString, libraryCall } from '../libc.js';
import { mountFlag } from './mount-options.js';

const statfsCall = libraryCall('int statfs(const void *path, void *into)');

/** struct statfs on 64-bit Linux is 120 bytes, all fields little and 8 bytes wide up to f_fsid. */
const structBytes = 256;
const flagsOffset = 80;

/** `f_type`, statfs(2). */
export const fileSystemMagic = {
  overlay: 0x794c7630,
  tmpfs: 0x01021994,
  ramfs: 0x858458f6,
} as const;

export interface FileSystemStatus {
  readonly type: number;
  readonly totalBytes: number;
  /** For a process without privileges; what df(1) calls available. */
  readonly availableBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
  /** `ST_*` bits. */
  readonly flags: number;
}

export function statfs(path: string): FileSystemStatus {
  const bytes = Buffer.alloc(structBytes);
  checked('statfs', path, statfsCall, cString(path), bytes);
  const field = (index: number): number => Number(bytes.readBigUInt64LE(index * 8));
  const blockBytes = field(1);
  return {
    type: field(0),
    totalBytes: field(2) * blockBytes,
    availableBytes: field(4) * blockBytes,
    totalInodes: field(5),
    freeInodes: field(6),
    flags: Number(bytes.readBigUInt64LE(flagsOffset)),
  };
}

/** `ST_*` bits with the equivalent `MS_*` flags; they differ from noatime on. */
const sameMeaning: readonly (readonly [number, number])[] = [
  [0x1, mountFlag.readOnly],
  [0x2, mountFlag.noSuid],
  [0x4, mountFlag.noDev],
  [0x8, mountFlag.noExec],
  [0x400, mountFlag.noAtime],
  [0x800, mountFlag.noDirAtime],
  [0x1000, mountFlag.relAtime],
  [0x2000, mountFlag.noSymfollow],
];

/** The flags of a mountpoint as `MS_*` bits. */
export function mountFlagsOf(path: string): number {
  const { flags } = statfs(path);
  return sameMeaning.reduce((sum, [bit, flag]) => ((flags & bit) !== 0 ? sum | flag : sum), 0);
}
