/** Parses /proc/self/mountinfo. */
import type { MountEntry } from '../../base/ports.js';

/** The kernel escapes space, tab, newline, backslash (and in places `#` or `,`) as `\ooo`. */
export function unescapeOctal(field: string): string {
  if (!field.includes('\\')) return field;
  // By bytes, because an escape may be in the middle of a UTF-8 sequence.
  const bytes = Buffer.from(field, 'utf8').toString('latin1');
  const plain = bytes.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(plain, 'latin1').toString('utf8');
}

/** All entries in the kernel's order: a mount comes after the mount that it covers. */
export function parseMountinfo(text: string): readonly MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const entry = parseLine(line);
    if (entry !== null) entries.push(entry);
  }
  return entries;
}

/** proc_pid_mountinfo(5): `36 35 98:0 /root /mountpoint options tags… - type source super`. */
function parseLine(line: string): MountEntry | null {
  if (line === '') return null;
  const fields = line.split(' ');
  // Six fields, then tags up to a single dash. Spaces in fields are escaped.
  const dash = fields.indexOf('-', 6);
  const [mountId, parentMountId, device, root, mountpoint, options] = fields;
  const [fileSystemType, source, superOptions] = dash === -1 ? [] : fields.slice(dash + 1);
  if (
    mountId === undefined ||
    parentMountId === undefined ||
    device === undefined ||
    root === undefined ||
    mountpoint === undefined ||
    options === undefined ||
    fileSystemType === undefined
  ) {
    return null;
  }
  return {
    mountId: Number(mountId),
    parentMountId: Number(parentMountId),
    device,
    root: unescapeOctal(root),
    mountpoint: unescapeOctal(mountpoint),
    options: splitOptions(options),
    peerGroup: groupIn(fields.slice(6, dash), 'shared'),
    master: groupIn(fields.slice(6, dash), 'master'),
    fileSystemType: unescapeOctal(fileSystemType),
    source: unescapeOctal(source ?? ''),
    superOptions: splitOptions(superOptions ?? ''),
  };
}

/** Tags are `shared:2`, `master:1`, `propagate_from:1`, `unbindable`; there may be none. */
function groupIn(tags: readonly string[], name: string): number | null {
  const tag = tags.find((each) => each.startsWith(`${name}:`));
  return tag === undefined ? null : Number(tag.slice(name.length + 1));
}

function splitOptions(field: string): readonly string[] {
  return field === '' ? [] : field.split(',').map(unescapeOctal);
}

/**
 * Whether a path is the directory or below it, by whole components. Both must be absolute and
 * without `.` or `..`.
 */
export function isAtOrBelow(path: string, directory: string): boolean {
  const base = directory.endsWith('/') ? directory.slice(0, -1) : directory;
  return path === base || path.startsWith(`${base}/`) || base === '';
}
