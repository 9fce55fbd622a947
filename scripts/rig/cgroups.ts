/** Control groups that containers of a rig leave: one parent for each rig, in v1 and v2 hierarchies. */
import { readFileSync, readdirSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from './wait.js';

/** Removes `/<parent>` with all below it from each hierarchy. Its processes must have been killed. */
export async function removeCgroups(parent: string): Promise<void> {
  for (const hierarchy of hierarchies()) {
    for (const group of groupsBelow(join(hierarchy, parent))) {
      // A killed process leaves its group a moment later.
      await until(`control group ${group} is empty`, () => removed(group), {
        timeoutMillis: 10_000,
      });
    }
  }
}

/** Mountpoints of all control-group hierarchies: several with v1, one with v2. */
function hierarchies(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .flatMap((line) => line.split(' ')[4] ?? []);
}

/** The group and all below it, the deepest first. */
function groupsBelow(group: string): string[] {
  try {
    const children = readdirSync(group, { withFileTypes: true }).filter((entry) =>
      entry.isDirectory(),
    );
    return [...children.flatMap((child) => groupsBelow(join(group, child.name))), group];
  } catch {
    return [];
  }
}

async function removed(group: string): Promise<boolean> {
  try {
    await rmdir(group);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true;
    throw error;
  }
}
