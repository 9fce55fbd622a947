/** What the layers of the power-loss test hold, and how a layer is told as text. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { run } from '../../scripts/rig/command.js';
import type { Random } from '../support/random.js';

const fileBytesMax = 40_000;

/** Files of all sizes, directories, links, and names that change: what an unpacked layer has. */
export function writeContents(directory: string, random: Random): void {
  const places = [directory];
  for (let index = 0, count = 2 + random.below(6); index < count; index += 1) {
    const place = random.pickIfAny(places) ?? directory;
    const path = join(place, `entry-${index}`);
    const kind = random.below(8);
    if (kind === 0) {
      fs.mkdirSync(path, { mode: 0o750 });
      places.push(path);
    } else if (kind === 1) fs.symlinkSync(`../somewhere-${index}`, path);
    else writeFile(path, random);
    if (kind === 2) fs.linkSync(path, `${path}-linked`);
    if (kind === 3) fs.renameSync(path, `${path}-renamed`);
  }
}

function writeFile(path: string, random: Random): void {
  const bytes = Buffer.alloc(random.chance(0.1) ? 0 : 1 + random.below(fileBytesMax));
  bytes.fill(`${path} ${random.next()}\n`);
  fs.writeFileSync(path, bytes, { mode: random.chance(0.3) ? 0o755 : 0o644 });
}

/** Through a real overlay, as a container or an unpacker would: copies up, whites out. */
export async function writeThroughOverlay(
  mountpoint: string,
  options: string,
  random: Random,
): Promise<void> {
  fs.mkdirSync(mountpoint, { recursive: true });
  await run('mount', ['-t', 'overlay', '-o', options, 'overlay', mountpoint]);
  try {
    for (const [index, name] of fs.readdirSync(mountpoint).entries()) {
      const path = join(mountpoint, name);
      if (index % 3 === 0) fs.rmSync(path, { recursive: true });
      else if (fs.lstatSync(path).isFile()) fs.appendFileSync(path, 'changed in the next layer');
    }
    writeContents(fs.mkdtempSync(join(mountpoint, 'own-')), random);
  } finally {
    await run('umount', [mountpoint]);
  }
}

/** Everything below a directory, an entry a line: type, mode, size, links, checksum or target. */
export function describeContents(directory: string): string {
  const lines: string[] = [];
  const walk = (path: string, name: string) => {
    const status = fs.lstatSync(path);
    const facts = [name, status.mode.toString(8)];
    if (status.isSymbolicLink()) facts.push(fs.readlinkSync(path));
    else if (status.isFile()) {
      const hash = createHash('sha256').update(fs.readFileSync(path)).digest('hex');
      facts.push(`${status.size} bytes`, `${status.nlink} links`, hash);
    } else if (status.isCharacterDevice()) facts.push(`device ${status.rdev}`);
    lines.push(facts.join(' '));
    if (!status.isDirectory()) return;
    for (const child of fs.readdirSync(path).sort()) walk(join(path, child), `${name}/${child}`);
  };
  walk(directory, '.');
  return lines.join('\n');
}
