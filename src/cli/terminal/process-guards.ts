/** What must hold for every command, whatever it does: it can work here, and it ends on purpose. */
import { errnoOf } from '../../base/errors.js';
import { EXIT } from '../exit-codes.js';

/**
 * Refuses to run in a working directory that was deleted, unmounted or is outside of the root
 * directory of this process: relative paths have no meaning there, and worker threads do not start
 * (Node.js calls getcwd(3) in each).
 */
export function requireWorkingDirectory(): void {
  try {
    process.cwd();
  } catch (cause) {
    const code = errnoOf(cause) ?? 'unknown error';
    throw new Error(
      `the working directory is not accessible (getcwd: ${code}); it was probably deleted: ` +
        "change to another one ('cd /') and run the command again",
      { cause },
    );
  }
}

/**
 * Ends the process with an internal error if the event loop has nothing left to do while the
 * command is still waiting: Node.js would exit with 0, and the result would be missing.
 *
 * @returns a function to call when the command has settled
 */
export function exitIfStalled(): () => void {
  const onIdle = (): void => {
    process.stderr.write(
      'stratalog: internal error: the command is waiting for something that cannot happen ' +
        'any more; its result is incomplete. Please report it\n',
    );
    process.exit(EXIT.broken);
  };
  process.once('beforeExit', onIdle);
  return () => {
    process.off('beforeExit', onIdle);
  };
}
