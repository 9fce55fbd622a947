/**
 * Goal: what programs rely on does not change by accident: commands, JSON, exit codes, metrics,
 * settings, protos, exported types. Method: the built command and a real daemon are recorded as
 * test/golden/make-surface.ts does, and compared with the golden files. After a change that is
 * meant, run `npx tsx test/golden/make-surface.ts`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { builtCli, buildLimitMillis, cleanUp } from '../cli/rig.js';
import { surfaceDirectory, surfaceParts, unknownFiles } from './record-surface/parts.js';

beforeAll(builtCli, buildLimitMillis);
afterAll(cleanUp);

it.concurrent.each(surfaceParts)('$file is as recorded', async ({ file, record }) => {
  expect(await record()).toBe(await readFile(join(surfaceDirectory, file), 'utf8'));
});

it('has no golden file that nothing is compared with', async () => {
  expect(await unknownFiles()).toEqual([]);
});
