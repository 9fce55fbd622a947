/**
 * The `stratalog` command. Results go to stdout, everything else to stderr; an error is one line
 * that says what was wrong, where, and what to do next, and an exit code that says which sort.
 */
import { Command, CommanderError } from 'commander';
import { reasonOf } from '../base/errors.js';
import { RELEASE } from '../api/release.js';
import { adviceFor } from '../base/advice.js';
import { configCommand } from './config.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { healthCommand } from './health.js';
import { inspectCommand } from './inspect.js';
import { layerCommand } from './layer.js';
import { logCommand } from './log.js';
import { OutputClosed } from './print.js';
import { serveCommand } from './serve.js';
import { verifyCommand } from './verify.js';

export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('stratalog')
    .description('a containerd remote snapshotter whose only truth is an append-only event log')
    .version(RELEASE)
    .exitOverride();
  const commands = [
    serveCommand(),
    healthCommand(),
    logCommand(),
    inspectCommand(),
    verifyCommand(),
    layerCommand(),
    configCommand(),
  ];
  for (const command of commands) program.addCommand(inheriting(command));
  try {
    await program.parseAsync(argv);
  } catch (thrown) {
    process.exitCode = report(thrown);
  }
}

/** Errors of sub-commands must come back to `main` too. */
function inheriting(command: Command): Command {
  command.exitOverride();
  for (const child of command.commands) inheriting(child);
  return command;
}

function report(thrown: unknown): number {
  if (thrown instanceof CommanderError) {
    // commander has printed its message already; help and version are no failures.
    return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  if (thrown instanceof OutputClosed) return EXIT.ok;
  process.stderr.write(`stratalog: ${reasonOf(thrown)}${adviceFor(thrown)}\n`);
  const code = exitCodeOf(thrown);
  if (code === EXIT.broken && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`);
  return code;
}
