/**
 * What the formats of a store cannot hold of a file. The tools that write images leave it out, or
 * write an image that cannot be read, and exit with 0; so a layer that needs it is refused before.
 * Checked with mkfs.erofs 1.5 and mksquashfs 4.5.1.
 */
import type { ByteString } from '../../../tar/byte-string.js';
import { readable } from '../../../tar/byte-string.js';
import type { LayerFormat } from '../layout.js';

/** An extended attribute of a file. */
export interface HeldAttribute {
  readonly name: ByteString;
  /** Of its value. */
  readonly bytes: number;
}

export interface FormatLimits {
  readonly format: LayerFormat;
  /** What of a file's attributes cannot be stored, in words; null when all can, or always. */
  readonly attributeFault: ((attributes: readonly HeldAttribute[]) => string | null) | null;
  /** The time that is stored for one, in nanoseconds since 1970. */
  storedTime(nanos: bigint): bigint;
  /** Whether hard links to one symlink stay one file. */
  readonly linksSymlinks: boolean;
}

const nanosPerSecond = 1_000_000_000n;
/** 2106-02-07 */
const squashfsSecondsMax = 0xffff_ffffn;

/** The namespaces that squashfs numbers (linux/fs/squashfs/squashfs_fs.h). */
const squashfsNamespaces = /^(user|trusted|security)\./;
/** The namespaces that EROFS numbers (linux/fs/erofs/erofs_fs.h). */
const erofsNamespaces = /^((user|trusted|security)\.|system\.posix_acl_(access|default)$)/;
/** The size of a value has 16 bits in EROFS. */
const erofsValueMax = 0xffff;
/** All attributes of a file have a header of 12 bytes and 65,534 units of 4 bytes at most. */
const erofsAttributesMax = (0xffff - 1) * 4;

const limits: Readonly<Record<LayerFormat, Omit<FormatLimits, 'format'>>> = {
  directory: {
    attributeFault: null,
    storedTime: (nanos) => nanos,
    linksSymlinks: true,
  },
  erofs: {
    attributeFault: (attributes) =>
      otherNamespace(attributes, erofsNamespaces) ?? tooLargeForErofs(attributes),
    storedTime: (nanos) => nanos,
    linksSymlinks: true,
  },
  squashfs: {
    attributeFault: (attributes) => otherNamespace(attributes, squashfsNamespaces),
    // Unsigned seconds. Greater ones would begin again at 1970.
    storedTime: (nanos) => {
      const seconds = nanos / nanosPerSecond;
      return (seconds > squashfsSecondsMax ? squashfsSecondsMax : seconds) * nanosPerSecond;
    },
    // mksquashfs writes each as a symlink of its own.
    linksSymlinks: false,
  },
};

export const limitsOf = (format: LayerFormat): FormatLimits => ({ format, ...limits[format] });

function otherNamespace(attributes: readonly HeldAttribute[], held: RegExp): string | null {
  const other = attributes.find(({ name }) => !held.test(name));
  return other === undefined ? null : `the attribute ${readable(other.name)}`;
}

function tooLargeForErofs(attributes: readonly HeldAttribute[]): string | null {
  const large = attributes.find(({ bytes }) => bytes > erofsValueMax);
  if (large !== undefined) {
    return `the attribute ${readable(large.name)} of ${large.bytes} bytes`;
  }
  let total = 0;
  for (const { name, bytes } of attributes) total += Math.ceil((4 + name.length + bytes) / 4) * 4;
  return total > erofsAttributesMax ? `extended attributes of ${total} bytes` : null;
}
