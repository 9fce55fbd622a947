/**
 * `stratalog completion`: prints a script that teaches a shell to complete this command line. The
 * script is made from the parser's own tree and calls nobody back: a key press must not wait for
 * a start of Node.js.
 */
import { Argument, type Command as Program, Command } from 'commander';
import { shapeOf, type CommandShape } from '../command-shape.js';
import { bashCompletion } from './completion-bash.js';
import { fishCompletion } from './completion-fish.js';
import { zshCompletion } from './completion-zsh.js';
import { printing } from '../../terminal/print.js';

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

For this shell only: source <(stratalog completion bash), the same in zsh;
stratalog completion fish | source. Write the file again after an upgrade.`;

/** `wholeProgram` builds the tree with all commands. */
export function completionCommand(wholeProgram: () => Promise<Program>): Command {
  return new Command('completion')
    .description('print a script that completes commands, flags and values in a shell')
    .addArgument(new Argument('<shell>', 'for which shell').choices(Object.keys(generators)))
    .addHelpText('after', examples)
    .action((shell: Shell) =>
      printing({ trunc: false }, async (out) => {
        await out.lines(
          generators[shell](shapeOf(await wholeProgram()))
            .trimEnd()
            .split('\n'),
        );
      }),
    );
}
