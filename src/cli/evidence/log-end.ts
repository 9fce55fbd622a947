/** Where a log ends for a reader, and whether it should have gone on. */
import { systemDisk } from '../../host/files/disk.js';
import type { LogFinding } from '../../log/verify/findings.js';
import { verifyLog } from '../../log/verify/verify.js';
import { liveHolder } from '../root/holder.js';

export interface LogEnd {
  /** The position behind the last record that is sound. */
  readonly position: number;
  /** What is wrong behind it, and in which file; null when nothing is, or when a daemon is writing. */
  readonly damage: string | null;
  /** The newest append is not whole, and nobody is writing it. */
  readonly isTorn: boolean;
}

/** Reads the headers, the checkpoints and the newest segment. Fails as `verifyLog` does. */
export async function endOf(root: string): Promise<LogEnd> {
  // Beside a writer the end of the newest segment is simply not written yet.
  const isLive = (await liveHolder(root)) !== null;
  let position = 0;
  let damage: string | null = null;
  let isTorn = false;
  for await (const item of verifyLog({ root, disk: systemDisk(), quick: true })) {
    if (item.kind === 'summary') position = item.verifiedTo;
    // Whose log it is has no bearing on where its records end.
    else if (isLive || item.kind === 'identity-damaged') continue;
    else if (item.severity === 'damage') damage ??= whereAndWhat(item);
    else if (item.kind === 'torn-tail') isTorn = true;
  }
  return { position, damage, isTorn };
}

/** A finding about the log as a whole names no file. */
const whereAndWhat = ({ segment, offset, detail }: LogFinding): string =>
  segment === '' ? detail : `${segment} at offset ${offset}: ${detail}`;
