/** Asks for confirmation on the terminal. Any answer other than yes aborts the command. */
import { createInterface } from 'node:readline';
import { UsageError } from '../../base/errors.js';
import { terminalTraits } from '../../base/terminal.js';
import { EndedBySignal } from './signals.js';

interface ConfirmOptions {
  /** The message when the command is aborted, for example "nothing was changed". */
  readonly abortMessage: string;
  /** The output is for a script: never prompt. */
  readonly isForScript?: boolean;
}

/**
 * Returns if the answer is yes.
 *
 * @throws UsageError for any other answer, at the end of input, and without a terminal
 * @throws EndedBySignal for Ctrl-C
 */
export async function confirm(
  question: string,
  { abortMessage, isForScript = false }: ConfirmOptions,
): Promise<void> {
  if (isForScript) {
    throw new UsageError(`${abortMessage}: no prompt with --json or --quiet; use --yes to confirm`);
  }
  // The prompt goes to stderr, which must be a terminal too.
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`${abortMessage}: no terminal to prompt on; use --yes to confirm`);
  }
  const answer = await answerTo(`${question} [y/N] `, abortMessage);
  if (answer !== null && /^y(es)?$/i.test(answer.trim())) return;
  throw new UsageError(abortMessage);
}

/** Null at the end of input. */
async function answerTo(question: string, abortMessage: string): Promise<string | null> {
  const { canRedraw } = terminalTraits(process.stderr.isTTY, process.env);
  const streams = { input: process.stdin, output: process.stderr };
  const terminal = createInterface({ ...streams, terminal: canRedraw });
  let interrupt = (): void => undefined;
  try {
    return await new Promise((resolve, reject) => {
      terminal.once('close', () => {
        // The cursor is still on the line of the prompt.
        process.stderr.write('\n');
        resolve(null);
      });
      interrupt = (): void => {
        process.stderr.write(`\nstratalog: ${abortMessage}\n`);
        reject(new EndedBySignal('SIGINT'));
      };
      // Ctrl-C is a key on a terminal in raw mode, and a signal otherwise.
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
