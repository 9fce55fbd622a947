/**
 * Before a run: takes away the recording disks (faults/block/) of a run that was killed. Their
 * server died with it, but the file system on top keeps the loop device, whose backing file
 * answers ENOTCONN from then on, and mkfs.btrfs asks every loop device's file whether it is the
 * one to format: no test could make a btrfs again. A disk whose server lives is another run's.
 */
import { readFileSync, statSync } from 'node:fs';
import { run } from '../../scripts/rig/command.js';
import { mountsWithin } from '../../scripts/rig/mounts.js';

/** `disk-process.ts` mounts under this name (the source field of proc_pid_mountinfo(5)). */
const source = ' - fuse recording-disk ';

export default async function unmountAbandonedDisks(): Promise<void> {
  const disks = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(source))
    .flatMap((line) => line.split(' ')[4] ?? []);
  for (const disk of disks.filter(hasNoServer)) {
    // NAME-disk and NAME-root, as block-device.ts makes them.
    const root = disk.replace(/-disk$/, '-root');
    const mountpoints = root === disk ? [disk] : [...mountsWithin(root), disk];
    for (const mountpoint of mountpoints) await run('umount', ['-l', mountpoint]);
  }
}

function hasNoServer(mountpoint: string): boolean {
  try {
    statSync(mountpoint);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTCONN';
  }
}
