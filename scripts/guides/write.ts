/**
 * `npm run guides`: lives through the guides' stories and writes their pages. A page that says the
 * same already is left as it is: its times and digests are those of the run that wrote it.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { closeOnSignals } from '../rig/workspace.js';
import { guidePage, guides, placeOf } from './guides.js';
import { comparable } from './steady.js';

closeOnSignals();
const wanted = process.argv.slice(2);
for (const guide of wanted.length === 0 ? guides : wanted) {
  const page = await guidePage(guide);
  const place = placeOf(guide);
  const old = await readFile(place, 'utf8').catch(() => '');
  if (comparable(old) === comparable(page)) {
    console.log(`docs/guide-${guide}.md is up to date`);
    continue;
  }
  await writeFile(place, page);
  console.log(`wrote docs/guide-${guide}.md`);
}
