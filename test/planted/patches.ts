/**
 * The planted bugs: a folder of patches against src/. The lines before the diff say what is wrong
 * (`Bug:`) and which check must notice (`Caught-by:`): `sim`, or a test file for vitest.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface PlantedBug {
  /** File name without its extension. */
  readonly name: string;
  readonly path: string;
  readonly bug: string;
  readonly caughtBy: string;
}

const plantedFolder = import.meta.dirname;

/** All planted bugs, by name. Throws when a patch does not say what it is. */
export function plantedBugs(): readonly PlantedBug[] {
  const names = readdirSync(plantedFolder).filter((name) => name.endsWith('.patch'));
  return names.sort().map((file) => {
    const path = join(plantedFolder, file);
    const [head = ''] = readFileSync(path, 'utf8').split('diff --git', 1);
    return {
      name: file.replace(/\.patch$/, ''),
      path,
      bug: fieldOf(head, 'Bug', file),
      caughtBy: fieldOf(head, 'Caught-by', file),
    };
  });
}

function fieldOf(head: string, field: string, file: string): string {
  const value = new RegExp(`^${field}: (.+)$`, 'm').exec(head)?.[1];
  if (value === undefined) throw new Error(`${file} does not say "${field}:"`);
  return value;
}
