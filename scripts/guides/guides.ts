/** The guides, each with its source here and its place among the documents. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../src/base/errors.js';
import { repository } from '../rig/daemon.js';
import { guideImage } from './acts.js';
import { pageFrom } from './page.js';
import { Session } from './session.js';

export const guides: readonly string[] = ['audit', 'recovery'];

export const placeOf = (guide: string): string => join(repository, 'docs', `guide-${guide}.md`);

/** Lives through the whole story of a guide and answers its page. */
export async function guidePage(guide: string): Promise<string> {
  const source = join(repository, 'scripts', 'guides', `${guide}.guide`);
  const text = await readFile(source, 'utf8');
  const session = await Session.start(guide === 'audit' ? await guideImage('shop') : undefined);
  try {
    return await pageFrom(text, session);
  } catch (thrown) {
    // Printed before closing, which may also fail.
    console.error(reasonOf(thrown), session.rig.daemon.log().slice(-2000));
    throw thrown;
  } finally {
    await session.close();
  }
}
