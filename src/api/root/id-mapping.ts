/** Whether layers can be mounted with mapped ids, by configuration and kernel. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { reasonOf } from '../../base/errors.js';
import { openHost } from '../../host/host.js';
import { probeIdmappedLowers } from '../../host/kernel.js';

/** The setting `remap_ids`; `auto` uses id mapping if the kernel supports it. */
export type RemapIds = boolean | 'auto';

/**
 * Null if ids can be mapped.
 *
 * @param probed why the kernel cannot map ids; null if it can
 */
export function whyNoIdMapping(setting: RemapIds, probed: string | null): string | null {
  if (setting === 'auto') return probed;
  return setting ? null : 'the configuration has remap_ids = false';
}

/**
 * As `whyNoIdMapping`, for a daemon that is not running: probes the nearest existing directory of
 * the root's path and cleans up.
 */
export async function whyNoIdMappingHere({
  root,
  remapIds,
}: {
  readonly root: string;
  readonly remapIds: RemapIds;
}): Promise<string | null> {
  return whyNoIdMapping(remapIds, remapIds === 'auto' ? await probedAt(root) : null);
}

async function probedAt(root: string): Promise<string | null> {
  const host = openHost({ root });
  try {
    const probe = await probeIdmappedLowers(host.workers, await nearestDirectory(root));
    return probe.supported ? null : probe.reason;
  } catch (thrown) {
    return reasonOf(thrown);
  } finally {
    await host.close();
  }
}

async function nearestDirectory(path: string): Promise<string> {
  const found = await stat(path).catch(() => null);
  return found?.isDirectory() === true || path === '/' ? path : nearestDirectory(dirname(path));
}
