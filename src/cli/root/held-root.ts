/** Holds a stopped root while a command writes to it. */
import { hostname } from 'node:os';
import { RELEASE } from '../../api/release.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import { RootLocked } from '../../log/errors.js';
import { holdRoot, type HeldRoot } from '../../maintenance/hold-root.js';
import { EXIT } from '../exit-codes.js';
import { liveHolder } from './holder.js';
import { printNotice } from '../terminal/print.js';

/** Fails as `holdRoot` does, with RootLocked if a daemon is running. */
export function withHeldRoot<Value>(
  root: string,
  command: string,
  use: (held: HeldRoot) => Promise<Value>,
): Promise<Value> {
  const options = {
    root,
    disk: systemDisk(),
    clock: systemClock(),
    writtenBy: `stratalog ${RELEASE}`,
    holder: { pid: process.pid, host: hostname(), command: `stratalog ${command}` },
    onWarning: printNotice,
  };
  return holdRoot(options, use);
}

/**
 * For commands that read before they write: fails at once if a daemon is running, even if there is
 * nothing to do.
 *
 * @throws RootLocked
 */
export async function requireNotHeld(root: string): Promise<void> {
  const holder = await liveHolder(root);
  if (holder === null) return;
  const { pid, startedAt } = holder;
  throw new RootLocked(root, startedAt === null ? null : { pid, startedAt });
}

/** For the help of commands that write to a root. */
export const heldRootHelp = `The daemon must be stopped. Exits ${EXIT.locked} with the pid of the process if the root is in use.`;
