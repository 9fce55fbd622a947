/** The version of this release, from the package's manifest. */
import { readFileSync } from 'node:fs';
import { InvariantBroken } from '../base/assert.js';

/** For example `0.1.0`. */
export const RELEASE: string = versionIn(
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')),
);

/** Checked by hand, because every command runs this and most do not load zod. */
function versionIn(manifest: unknown): string {
  const version =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? manifest.version
      : undefined;
  if (typeof version === 'string') return version;
  throw new InvariantBroken('package.json has a version');
}
