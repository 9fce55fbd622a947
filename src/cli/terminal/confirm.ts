/** Asks a person on the terminal whether to go on. Without a plain yes nothing is done. */
import { createInterface } from 'node:readline';
import { UsageError } from '../../base/errors.js';
import { terminalTraits } from '../../base/terminal.js';
import { EndedBySignal } from './signals.js';

interface Asking {
  /** What is said at every other end, for example "nothing was done". */
  readonly undone: string;
  /** A script that reads JSON is no person. */
  readonly isForScript?: boolean;
}

/**
 * Comes back when the answer is yes.
 *
 * @throws UsageError when it is another one, or the input ends, or there is no terminal
 * @throws EndedBySignal for Ctrl-C
 */
export async function confirm(
  question: string,
  { undone, isForScript = false }: Asking,
): Promise<void> {
  if (isForScript) {
    throw new UsageError(`${undone}: with --json nobody is asked; say --yes to do it`);
  }
  // The question goes to stderr: in a file nobody would see it.
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`${undone}: say --yes to do it, or run it on a terminal to be asked`);
  }
  const answer = await answerTo(`${question} [y/N] `, undone);
  if (answer !== null && /^y(es)?$/i.test(answer.trim())) return;
  throw new UsageError(undone);
}

/** Null when the input ends. */
async function answerTo(question: string, undone: string): Promise<string | null> {
  const { canRedraw } = terminalTraits(process.stderr.isTTY, process.env);
  const streams = { input: process.stdin, output: process.stderr };
  const terminal = createInterface({ ...streams, terminal: canRedraw });
  let interrupt = (): void => undefined;
  try {
    return await new Promise((resolve, reject) => {
      terminal.once('close', () => {
        // The question is still on its line.
        process.stderr.write('\n');
        resolve(null);
      });
      interrupt = (): void => {
        process.stderr.write(`\nstratalog: ${undone}\n`);
        reject(new EndedBySignal('SIGINT'));
      };
      // By a terminal in raw mode it is a key, by another one a signal.
      terminal.once('SIGINT', interrupt);
      process.once('SIGINT', interrupt);
      terminal.question(question, resolve);
    });
  } finally {
    process.off('SIGINT', interrupt);
    terminal.removeAllListeners('close');
    terminal.close();
  }
}
