/** Which release this is, read from the package's own manifest. */
import { readFileSync } from 'node:fs';
import * as z from 'zod';

const manifestSchema = z.object({ version: z.string() });

/** For example `0.1.0`. */
export const RELEASE: string = manifestSchema.parse(
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')),
).version;
