/** Everything that is recorded of the outer surface, one golden file each. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from '../../../scripts/rig/daemon.js';
import { commands } from './commands.js';
import { exitCodes } from './exit-codes.js';
import { jsonOutput } from './json-output.js';
import { libraryTypes } from './library-types.js';
import { metrics } from './metrics.js';
import type { SurfacePart } from './part.js';
import { protos } from './protos.js';
import { settings } from './settings.js';

export const surfaceDirectory = join(repository, 'test/golden/surface');

/** The longest first, so that the others fill the time that it waits. */
export const surfaceParts: readonly SurfacePart[] = [
  exitCodes,
  ...jsonOutput,
  metrics,
  protos,
  settings,
  commands,
  ...libraryTypes,
];

/** Golden files that no part writes. */
export async function unknownFiles(): Promise<string[]> {
  const names = new Set(surfaceParts.map(({ file }) => file));
  return (await readdir(surfaceDirectory)).filter((name) => !names.has(name));
}
