/**
 * What the last start found out about the kernel, for a start that has no room to try: a full
 * disk must not keep a daemon from starting, because Remove is how room is made.
 */
import type { Disk } from '../../base/ports.js';
import { readLog } from '../../log/reader.js';
import type { MountSettings } from '../../snapshotter/mounts.js';

/** Options that only the kernel's answers bring; what is configured is known without the log. */
const kernelOptions = ['userxattr', 'index=off'];

/** As the newest DaemonStarted tells them; null when there is none. */
export async function lastMountSettings(
  disk: Disk,
  root: string,
  configured: readonly string[],
): Promise<Pick<MountSettings, 'kernelOptions' | 'whyNoIdMapping'> | null> {
  for await (const { type, data } of readLog({ root, disk, stream: 'daemon', reverse: true })) {
    if (type !== 'DaemonStarted') continue;
    const { settings } = data;
    if (typeof settings !== 'object' || settings === null) return null;
    const told = 'mountOptions' in settings ? settings.mountOptions : null;
    if (!Array.isArray(told)) return null;
    return {
      kernelOptions: kernelOptions.filter(
        (option) => told.includes(option) && !configured.includes(option),
      ),
      whyNoIdMapping:
        'whyNoIdMapping' in settings && typeof settings.whyNoIdMapping === 'string'
          ? settings.whyNoIdMapping
          : null,
    };
  }
  return null;
}
