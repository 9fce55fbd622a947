/** Where readers stop in a log, and whether it is damaged there. */
import { systemDisk } from '../../host/files/disk.js';
import type { LogFinding } from '../../log/verify/findings.js';
import { verifyLog } from '../../log/verify/verify.js';
import { liveHolder } from '../root/holder.js';

export interface LogEnd {
  /** The position after the last valid record. */
  readonly position: number;
  /** The damage at `position` and its file; null without damage, and while a daemon writes. */
  readonly damage: string | null;
  /** The last append is incomplete, and no process is writing. */
  readonly isTorn: boolean;
}

/** Reads the headers, the checkpoints and the newest segment. Fails as `verifyLog` does. */
export async function endOf(root: string): Promise<LogEnd> {
  // While a daemon writes, an incomplete record at the end is not damage.
  const isLive = (await liveHolder(root)) !== null;
  let position = 0;
  let damage: string | null = null;
  let isTorn = false;
  for await (const item of verifyLog({ root, disk: systemDisk(), quick: true })) {
    if (item.kind === 'summary') position = item.verifiedTo;
    // The identity does not affect where the records end.
    else if (isLive || item.kind === 'identity-damaged') continue;
    else if (item.severity === 'damage') damage ??= describe(item);
    else if (item.kind === 'torn-tail') isTorn = true;
  }
  return { position, damage, isTorn };
}

/** A finding about the whole log has no file. */
const describe = ({ segment, offset, detail }: LogFinding): string =>
  segment === '' ? detail : `${segment} at offset ${offset}: ${detail}`;
