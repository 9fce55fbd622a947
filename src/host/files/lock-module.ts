/**
 * Loads fs-ext for flock(2). It is the only module compiled at installation, so it must be rebuilt
 * after an upgrade to another release line of Node.js.
 */
import { createRequire } from 'node:module';
import type * as FsExt from 'fs-ext';
import { ModuleUnusable } from '../../base/errors.js';

const requireHere = createRequire(import.meta.url);
let loaded: typeof FsExt | undefined;

/**
 * Only one thread of a process may load the module. May be retried after a rebuild.
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

/** Node's own message has five lines and addresses the module's developers. */
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

/** The package whose node_modules contains the module; null if there is none. */
function packageDirectory(): string | null {
  try {
    const [directory = ''] = requireHere.resolve('fs-ext').split('/node_modules/fs-ext/');
    return directory;
  } catch {
    return null;
  }
}
