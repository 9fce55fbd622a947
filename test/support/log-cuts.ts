/**
 * Ends a log earlier, as a disk that acknowledged what it had not written, or an older copy that
 * was put back. Finds records by docs/log-format.md, without the code under test.
 */
import * as fs from 'node:fs';

const SEGMENT_HEADER_BYTES = 136;

/** Offsets of the records in the only segment of a root's log, and of the end behind the last. */
export function recordOffsets(root: string): readonly number[] {
  const bytes = fs.readFileSync(segmentOf(root));
  const offsets: number[] = [];
  let at = SEGMENT_HEADER_BYTES;
  for (let length = bytes.readUInt32LE(at + 4); length > 0; length = bytes.readUInt32LE(at + 4)) {
    offsets.push(at);
    at += (length + 7) & ~7;
  }
  return [...offsets, at];
}

/** Takes back all from an offset on, and checkpoints of what came later with it. */
export function endLogAt(root: string, offset: number): void {
  const path = segmentOf(root);
  const bytes = fs.readFileSync(path);
  fs.writeFileSync(path, bytes.fill(0, offset));
  for (const name of fs.readdirSync(`${root}/log`)) {
    if (name.endsWith('.checkpoint')) fs.unlinkSync(`${root}/log/${name}`);
  }
}

function segmentOf(root: string): string {
  const [first, ...more] = fs.readdirSync(`${root}/log`).filter((name) => name.endsWith('.seg'));
  if (first === undefined || more.length > 0) throw new Error('a log of one segment is needed');
  return `${root}/log/${first}`;
}
