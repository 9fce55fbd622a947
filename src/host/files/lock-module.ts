/**
 * fs-ext, for flock(2): the only module that is built when it is installed, for one release line
 * of Node.js. After an upgrade of Node.js to another line it does not load until it is built again.
 */
import { createRequire } from 'node:module';
import type * as FsExt from 'fs-ext';
import { ModuleUnusable } from '../../base/errors.js';

const requireHere = createRequire(import.meta.url);
let loaded: typeof FsExt | undefined;

/**
 * A failed attempt may be repeated: the module may have been built meanwhile. One thread of a
 * process only may load it.
 *
 * @throws ModuleUnusable with the command that builds it
 */
export function lockModule(): typeof FsExt {
  try {
    return (loaded ??= requireHere('fs-ext') as typeof FsExt);
  } catch (thrown) {
    throw new ModuleUnusable(
      `cannot load fs-ext with Node.js ${process.version}: ${reason(thrown)}; ${remedy()}`,
    );
  }
}

/** Node's own message has five lines, and advice for the module's developers. */
function reason(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const versions = /NODE_MODULE_VERSION (\d+)\.[^]*NODE_MODULE_VERSION (\d+)/.exec(message);
  if (versions === null) return message.split('\n')[0] ?? '';
  const [, built = '', needed = ''] = versions;
  return `it was built for another release (module version ${built}, not ${needed})`;
}

function remedy(): string {
  const directory = packageDirectory();
  if (directory === null) return 'install Stratalog again';
  return `run 'npm rebuild fs-ext' in ${directory} (needs python3, make and g++)`;
}

/** Of the package whose node_modules holds the module; null without the module. */
function packageDirectory(): string | null {
  try {
    const [directory = ''] = requireHere.resolve('fs-ext').split('/node_modules/fs-ext/');
    return directory;
  } catch {
    return null;
  }
}
