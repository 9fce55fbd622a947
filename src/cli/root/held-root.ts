/** A stopped root, held by a command: who holds it, and where its warnings go. */
import { hostname } from 'node:os';
import { RELEASE } from '../../api/release.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import { RootLocked } from '../../log/errors.js';
import { holdRoot, type HeldRoot } from '../../maintenance/hold-root.js';
import { EXIT } from '../exit-codes.js';
import { liveHolder } from './holder.js';

/** Fails as `holdRoot` does; a root that a daemon has is exit code 4. */
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
    onWarning: (message: string) => process.stderr.write(`stratalog: ${message}\n`),
  };
  return holdRoot(options, use);
}

/**
 * For commands that look first and then write: whoever runs them beside a daemon is told at once,
 * also when there is nothing to do.
 *
 * @throws RootLocked
 */
export async function refuseLive(root: string): Promise<void> {
  const holder = await liveHolder(root);
  if (holder === null) return;
  const { pid, startedAt } = holder;
  throw new RootLocked(root, startedAt === null ? null : { pid, startedAt });
}

/** For the help of commands that write to a root. */
export const heldRootHelp = `The daemon must be stopped: exits ${EXIT.locked} and names the process when the root is in use.`;
