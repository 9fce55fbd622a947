/**
 * `stratalog completion`: prints a completion script for a shell. The script is generated from the
 * parser's tree and does not call `stratalog`: a key press must not wait for Node.js to start.
 */
import { Argument, type Command as Program, Command } from 'commander';
import { shapeOf, type CommandShape } from '../command-shape.js';
import { bashCompletion } from './completion-bash.js';
import { fishCompletion } from './completion-fish.js';
import { zshCompletion } from './completion-zsh.js';
import { withOutput } from '../../terminal/print.js';

const generators = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
} as const satisfies Record<string, (program: CommandShape) => string>;

type Shell = keyof typeof generators;

const examples = `
Examples:
  stratalog completion bash > /etc/bash_completion.d/stratalog
  stratalog completion zsh > /usr/local/share/zsh/site-functions/_stratalog
  stratalog completion fish > /etc/fish/completions/stratalog.fish

For the current shell only: source <(stratalog completion bash), the same in zsh;
stratalog completion fish | source. Write the file again after an upgrade.`;

/** `wholeProgram` builds the tree with all commands. */
export function completionCommand(wholeProgram: () => Promise<Program>): Command {
  return new Command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'name of the shell').choices(Object.keys(generators)))
    .addHelpText('after', examples)
    .action((shell: Shell) =>
      withOutput({ trunc: false }, async (out) => {
        await out.lines(
          generators[shell](shapeOf(await wholeProgram()))
            .trimEnd()
            .split('\n'),
        );
      }),
    );
}
