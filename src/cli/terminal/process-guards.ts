/** Checks for every command: the working directory exists, and the command runs to completion. */
import { errnoOf } from '../../base/errors.js';
import { EXIT } from '../exit-codes.js';

/**
 * Refuses to run in a working directory that was deleted, unmounted or is outside of the root
 * directory of this process. Relative paths do not resolve there, and worker threads do not start
 * because Node.js calls getcwd(3) in each.
 */
export function requireWorkingDirectory(): void {
  try {
    process.cwd();
  } catch (cause) {
    const code = errnoOf(cause) ?? 'unknown error';
    throw new Error(
      `working directory is not accessible: getcwd: ${code}; it was probably deleted. ` +
        "Change to another directory ('cd /') and run the command again",
      { cause },
    );
  }
}

/**
 * Exits with an internal error if the event loop runs empty while the command is still pending.
 * Node.js would exit with 0 and an incomplete result.
 *
 * @returns a function to call when the command has settled
 */
export function exitIfStalled(): () => void {
  const onIdle = (): void => {
    process.stderr.write(
      'stratalog: internal error: event loop is empty but the command has not completed; ' +
        'its result is incomplete. Please report it\n',
    );
    process.exit(EXIT.broken);
  };
  process.once('beforeExit', onIdle);
  return () => {
    process.off('beforeExit', onIdle);
  };
}
