/**
 * Tar archives for tests, as odd as they need to be: every field of a header can be written as
 * bytes. Independent of the program's own reader and writer, so that a test of those proves
 * something.
 */

const flags = {
  file: '0',
  link: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
} as const;

/** Offset and length of each field of a header. */
const fields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  flag: [156, 1],
  linkname: [157, 100],
  magic: [257, 8],
  devmajor: [329, 8],
  devminor: [337, 8],
  prefix: [345, 155],
  /** From the prefix to the end of the block, which each dialect uses in its own way. */
  rest: [345, 167],
} as const satisfies Readonly<Record<string, readonly [number, number]>>;

const magics = { ustar: 'ustar\x0000', gnu: 'ustar  \0', v7: '' } as const;

export interface Entry {
  /** A string is written as UTF-8. */
  readonly name: string | Buffer;
  readonly type?: keyof typeof flags;
  readonly content?: string | Buffer;
  readonly linkname?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since 1970. */
  readonly mtime?: number;
  readonly devmajor?: number;
  readonly devminor?: number;
  readonly dialect?: keyof typeof magics;
  /** Records of a PAX header before the entry; one character a byte. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Fields as bytes, one character each, in the place of what they would be. */
  readonly raw?: Partial<Readonly<Record<keyof typeof fields, string>>>;
}

/** An archive of these entries, with the two blocks of zeros at its end. */
export const tarOf = (entries: readonly Entry[]): Buffer =>
  Buffer.concat([...entries.map(entryOf), archiveEnd]);

export const archiveEnd: Buffer = Buffer.alloc(1024);

/** One entry: PAX header, header, content and padding. */
export function entryOf(entry: Entry): Buffer {
  const { content = '', pax = {} } = entry;
  const bytes = Buffer.from(content as string);
  const name = Buffer.from(entry.name as string);
  const long = {
    ...(name.length > 100 ? { path: name.toString('latin1') } : {}),
    ...((entry.linkname?.length ?? 0) > 100 ? { linkpath: entry.linkname ?? '' } : {}),
  };
  const records = { ...long, ...pax };
  const hasRecords = Object.keys(records).length > 0;
  return Buffer.concat([
    hasRecords ? extensionOf('x', paxRecords(Object.entries(records))) : Buffer.alloc(0),
    headerOf(entry, bytes.length),
    bytes,
    paddingOf(bytes.length),
  ]);
}

/** A header alone. */
export function headerOf(entry: Entry, size = 0): Buffer {
  const block = Buffer.alloc(512);
  const { dialect = 'ustar', type = 'file' } = entry;
  const put = (field: keyof typeof fields, value: string | Buffer): void => {
    const [at, length] = fields[field];
    const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
    bytes.copy(block, at, 0, Math.min(bytes.length, length));
  };
  put('name', Buffer.from(entry.name as string));
  put('mode', octal(entry.mode ?? 0o644, 8));
  put('uid', octal(entry.uid ?? 0, 8));
  put('gid', octal(entry.gid ?? 0, 8));
  put('size', octal(size, 12));
  put('mtime', octal(entry.mtime ?? 0, 12));
  put('flag', flags[type]);
  put('linkname', Buffer.from(entry.linkname ?? ''));
  put('magic', magics[dialect]);
  if (dialect !== 'v7') {
    put('devmajor', octal(entry.devmajor ?? 0, 8));
    put('devminor', octal(entry.devminor ?? 0, 8));
  }
  const raw = Object.entries(entry.raw ?? {}) as [keyof typeof fields, string][];
  for (const [field, value] of raw) put(field, value);
  return entry.raw?.checksum === undefined ? rechecked(block) : block;
}

/** A header about the next entry (`x`, `g`, `L`, `K`) with its content. */
export function extensionOf(flag: string, content: string, name = 'PaxHeader'): Buffer {
  const bytes = Buffer.from(content, 'latin1');
  const header = headerOf({ name, raw: { flag } }, bytes.length);
  return Buffer.concat([header, bytes, paddingOf(bytes.length)]);
}

export const paxRecords = (records: Iterable<readonly [keyword: string, value: string]>): string =>
  [...records].map(paxRecord).join('');

/** The length counts its own digits too. */
function paxRecord([keyword, value]: readonly [string, string]): string {
  const rest = ` ${keyword}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) {
    length = String(length).length + rest.length;
  }
  return `${length}${rest}`;
}

/** Gives a header whose bytes were changed its checksum. */
export function rechecked(header: Buffer, signed = false): Buffer {
  header.fill(' ', 148, 156);
  const sum = header
    .subarray(0, 512)
    .reduce((total, byte) => total + (signed && byte > 127 ? byte - 256 : byte), 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

export const paddingOf = (size: number): Buffer => Buffer.alloc((512 - (size % 512)) % 512);

/** Octal digits and a NUL. */
export const octal = (value: number, length: number): string =>
  `${value.toString(8).padStart(length - 1, '0')}\0`;

/** A number in base 256 with the first bit set, which may be negative. */
export function base256(value: bigint, length: number): string {
  const hex = BigInt.asUintN(length * 8 - 1, value) | (1n << BigInt(length * 8 - 1));
  return Buffer.from(hex.toString(16).padStart(length * 2, '0'), 'hex').toString('latin1');
}
