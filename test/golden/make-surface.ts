/**
 * Writes the golden files of the outer surface again: `npx tsx test/golden/make-surface.ts`.
 *
 * They hold what programs rely on: names and options of commands, JSON, exit codes, metrics,
 * settings, protos and exported types. Wording is not in them. Read the diff before committing it:
 * each line is a change that somebody's script or program may notice.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { builtCli, cleanUp } from '../cli/rig.js';
import { surfaceDirectory, surfaceParts, unknownFiles } from './record-surface/parts.js';

await builtCli();
await mkdir(surfaceDirectory, { recursive: true });
try {
  for (const { file, record } of surfaceParts) {
    await writeFile(join(surfaceDirectory, file), await record());
  }
  for (const name of await unknownFiles()) await rm(join(surfaceDirectory, name));
} finally {
  await cleanUp();
}
console.log(`${surfaceParts.length} files in ${surfaceDirectory}`);
