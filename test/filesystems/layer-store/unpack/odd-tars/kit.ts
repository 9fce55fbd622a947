/** What odd archives are made of, and what is said of each. */
import {
  archiveEnd,
  entryOf,
  extensionOf,
  paddingOf,
  paxRecords,
  tarOf,
  type Entry,
} from '../../../../../scripts/rig/tar.js';

export interface OddTar {
  readonly name: string;
  readonly tar: Buffer;
  /** As a lowest layer, and as an upper one where that is different. */
  readonly containerd: 'unpacks' | 'refuses';
  readonly asUpper?: 'unpacks' | 'refuses';
  /** Why we refuse what containerd unpacks. */
  readonly unsafe?: RegExp;
  /** Why squashfs cannot hold it. */
  readonly squashfs?: RegExp;
  /** Why EROFS cannot hold it. */
  readonly erofs?: RegExp;
}

type Rest = Omit<OddTar, 'name' | 'tar' | 'containerd'>;

export const unpacks = (name: string, of: Buffer | readonly Entry[], rest: Rest = {}): OddTar => {
  return { name, tar: archive(of), containerd: 'unpacks', ...rest };
};
export const refuses = (name: string, of: Buffer | readonly Entry[], rest: Rest = {}): OddTar => {
  return { name, tar: archive(of), containerd: 'refuses', ...rest };
};
/** Whiteouts that an upper layer cannot have. */
export const onlyLowest = { asUpper: 'refuses' } as const;

const archive = (of: Buffer | readonly Entry[]): Buffer =>
  of instanceof Buffer ? of : tarOf(of as readonly Entry[]);
export const whole = (...pieces: readonly Buffer[]): Buffer =>
  Buffer.concat([...pieces, archiveEnd]);
export const file = (name: string, content = name, more: Partial<Entry> = {}): Entry => {
  return { name, content, ...more };
};
export const directory = (name: string, more: Partial<Entry> = {}): Entry => {
  return { name, type: 'directory', mode: 0o755, ...more };
};
export const link = (name: string, linkname: string, more: Partial<Entry> = {}): Entry => {
  return { name, type: 'link', linkname, ...more };
};
export const symlink = (name: string, linkname: string, more: Partial<Entry> = {}): Entry => {
  return { name, type: 'symlink', linkname, mode: 0o777, ...more };
};
export const pax = (records: Readonly<Record<string, string>>): Buffer =>
  extensionOf('x', paxRecords(Object.entries(records)));
export const attribute = (name: string, value: string): Partial<Entry> => {
  return { pax: { [`SCHILY.xattr.${name}`]: value } };
};
export const raw = (fields: Entry['raw']): Partial<Entry> => {
  return fields === undefined ? {} : { raw: fields };
};

export const last = entryOf(file('last'));

/** Content with its padding. */
export function padded(content: string): Buffer {
  return Buffer.concat([Buffer.from(content), paddingOf(content.length)]);
}

/** cap_setuid+ep, with bytes that are not UTF-8. */
export const capability =
  '\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00';

/** An ACL as the kernel has it (linux/posix_acl_xattr.h): version 2, then tag, permissions, id. */
export function acl(
  ...entries: readonly (readonly [tag: number, permissions: number, id?: number])[]
): string {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  for (const [index, [tag, permissions, id = 0xffff_ffff]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(permissions, 6 + index * 8);
    bytes.writeUInt32LE(id, 8 + index * 8);
  }
  return bytes.toString('latin1');
}
export const userAcl = acl([1, 7], [2, 5, 1234], [4, 5], [16, 5], [32, 0]);
