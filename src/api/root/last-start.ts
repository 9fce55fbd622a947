/**
 * The kernel features that the last startup found, for a startup on a full disk that cannot probe
 * them. The daemon must start on a full disk, because Remove frees space.
 */
import type { Disk } from '../../base/ports.js';
import { readLog } from '../../log/reader.js';
import type { MountSettings } from '../../snapshotter/mounts.js';

/** Mount options that depend on the kernel, not on the configuration. */
const kernelOptions = ['userxattr', 'index=off'];

/** From the newest DaemonStarted; null if there is none. */
export async function lastMountSettings(
  disk: Disk,
  root: string,
  configured: readonly string[],
): Promise<Pick<MountSettings, 'kernelOptions' | 'whyNoIdMapping'> | null> {
  for await (const { type, data } of readLog({ root, disk, stream: 'daemon', reverse: true })) {
    if (type !== 'DaemonStarted') continue;
    const { settings } = data;
    if (typeof settings !== 'object' || settings === null) return null;
    const recorded = 'mountOptions' in settings ? settings.mountOptions : null;
    if (!Array.isArray(recorded)) return null;
    return {
      kernelOptions: kernelOptions.filter(
        (option) => recorded.includes(option) && !configured.includes(option),
      ),
      whyNoIdMapping:
        'whyNoIdMapping' in settings && typeof settings.whyNoIdMapping === 'string'
          ? settings.whyNoIdMapping
          : null,
    };
  }
  return null;
}
