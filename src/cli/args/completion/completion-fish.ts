/** Completion for fish 3 and later, from the shape of the command line, with descriptions. */
import { everyCommand, type CommandShape, type Values } from '../command-shape.js';

export function fishCompletion(program: CommandShape): string {
  const commands = [...everyCommand(program)];
  const { name } = program;
  return `# Completion of ${name} for fish. Made by: ${name} completion fish

# True if the command before the cursor is the first argument, as /layer/ls, and, if a second
# argument is given, the command has that many arguments.
function __${name}_at
    set -l at ''
    set -l count 0
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$at/$word"
${commands.flatMap(stepCases).join('\n')}
            case ${commands.flatMap(valueFlags).join(' ')}
                set skip 1
            case '*/-*'
            case '*'
                set count (math $count + 1)
        end
    end
    test "$at" = "$argv[1]"; and begin
        not set -q argv[2]; or test "$argv[2]" = $count
    end
end

# Completes a list of values separated by commas.
function __${name}_list
    set -l before (string replace --regex -- '[^,]*$' '' (commandline -ct))
    for word in $argv
        echo "$before$word"
    end
end

complete -c ${name} -f
${commands.flatMap((command) => linesOf(name, command)).join('\n')}
`;
}

const pathText = (path: readonly string[]): string => path.map((word) => `/${word}`).join('');

function stepCases(command: CommandShape): string[] {
  if (command.path.length === 0) return [];
  const parent = pathText(command.path.slice(0, -1));
  const patterns = [command.name, ...command.aliases].map((name) => `'${parent}/${name}'`);
  return [
    `            case ${patterns.join(' ')}`,
    `                set at '${pathText(command.path)}'`,
  ];
}

/** Patterns of the flags that take a value. */
const valueFlags = (command: CommandShape): string[] =>
  command.options
    .filter(({ value }) => value !== null)
    .flatMap(({ short, long }) => [short, long])
    .flatMap((flag) => (flag === null ? [] : [`'${pathText(command.path)}/${flag}'`]));

function linesOf(name: string, command: CommandShape): string[] {
  const path = pathText(command.path);
  const at = (count?: number): string =>
    quoted(`__${name}_at '${path}'${count === undefined ? '' : ` ${count}`}`);
  const words = command.commands.flatMap((child) =>
    [child.name, ...child.aliases].map((word) => ({ word, description: child.description })),
  );
  return [
    ...words.map(
      ({ word, description }) =>
        `complete -c ${name} -n ${at(0)} -a ${word} -d ${quoted(description)}`,
    ),
    ...command.options.map(({ short, long, description, value, values }) => {
      const flags = [
        ...(short === null ? [] : [`-s ${short.slice(1)}`]),
        ...(long === null ? [] : [`-l ${long.slice(2)}`]),
      ];
      const offered = value === null ? '' : ` -r${offer(name, values)}`;
      return `complete -c ${name} -n ${at()} ${flags.join(' ')}${offered} -d ${quoted(description)}`;
    }),
    ...command.arguments.flatMap(({ values, isVariadic }, index) => {
      const offered = offer(name, values);
      return values.kind === 'any'
        ? []
        : [`complete -c ${name} -n ${at(isVariadic ? undefined : index)}${offered}`];
    }),
  ];
}

function offer(name: string, values: Values): string {
  switch (values.kind) {
    case 'any':
      return ' -f';
    case 'words': {
      const words = values.words.join(' ');
      return values.isList ? ` -f -a '(__${name}_list ${words})'` : ` -f -a '${words}'`;
    }
    case 'files':
      return ' -F';
    case 'directories':
      return " -f -a '(__fish_complete_directories (commandline -ct))'";
  }
}

const quoted = (text: string): string =>
  `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
