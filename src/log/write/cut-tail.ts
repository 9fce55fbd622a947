/**
 * Cuts a torn tail. The order is the point: the evidence is safe first, then the epoch says that
 * something was cut, and only then is the tail made zero. A power cut in between leaves a torn
 * tail of the same kind, and the next start cuts again.
 */
import type { Clock, Disk, DiskFile } from '../../base/ports.js';
import { position } from '../../base/units.js';
import { logDirectory, withFile } from '../files.js';
import { writeIdentity, type StoredIdentity } from '../root/identity.js';
import type { TornTail } from '../read/replay-to-end.js';
import type { CutTail } from '../types.js';

const COPY_BYTES = 1024 * 1024;

/** Answers the report and the identity with its epoch raised. */
export async function cutTail(
  disk: Disk,
  clock: Clock,
  root: string,
  identity: StoredIdentity,
  torn: TornTail,
): Promise<{ readonly cut: CutTail; readonly identity: StoredIdentity }> {
  const { segment, offset, end } = torn;
  const savedAs = `${segment.name}.${offset}.${clock.now()}.broken`;
  const directory = logDirectory(root);
  await withFile(disk, `${directory}/${savedAs}`, 'create', async (copy) => {
    await withFile(disk, segment.path, 'read', (file) => copyRange(file, copy, offset, end));
    await copy.sync();
  });
  await disk.syncDirectory(directory);
  const raised = { ...identity, epoch: identity.epoch + 1 };
  await writeIdentity(disk, root, raised);
  await withFile(disk, segment.path, 'write', async (file) => {
    for (let at = offset; at < end; at += COPY_BYTES) {
      await file.write(Buffer.alloc(Math.min(COPY_BYTES, end - at)), at);
    }
    await file.sync();
  });
  const cut = {
    segment: segment.name,
    offset,
    position: position(torn.position),
    bytes: end - offset,
    savedAs,
  };
  return { cut, identity: raised };
}

async function copyRange(from: DiskFile, to: DiskFile, start: number, end: number): Promise<void> {
  const buffer = Buffer.alloc(COPY_BYTES);
  for (let offset = start; offset < end;) {
    const wanted = Math.min(buffer.length, end - offset);
    const filled = await from.read(buffer.subarray(0, wanted), offset);
    if (filled === 0) return;
    await to.write(buffer.subarray(0, filled), offset - start);
    offset += filled;
  }
}
