/** Update's field mask over labels (containerd, storage.UpdateInfo). */
import { ok, refuse, type Result } from '../base/result.js';
import type { Labels } from '../base/units.js';
import { refusals, type Refusal } from './refusals.js';

const LABEL_PATH = 'labels.';

/**
 * The labels after an update. No path or `labels`: the given ones replace all. `labels.<key>`:
 * that one is set, or deleted when the given labels lack it or hold an empty value. Any other
 * path refuses the whole update, also when good paths stand before it.
 */
export function updatedLabels(
  current: Labels,
  given: Labels,
  paths: readonly string[],
): Result<Labels, Refusal> {
  if (paths.length === 0) return ok(given);
  let updated = new Map(current);
  for (const path of paths) {
    if (path === 'labels') {
      updated = new Map(given);
    } else if (path.startsWith(LABEL_PATH)) {
      const key = path.slice(LABEL_PATH.length);
      updated.set(key, given.get(key) ?? '');
    } else {
      return refuse(refusals.invalidFieldPath(path));
    }
  }
  return ok(updated);
}
