/** Completion for zsh 5, from the shape of the command line, with descriptions. */
import {
  everyCommand,
  type ArgumentShape,
  type CommandShape,
  type OptionShape,
  type Values,
} from '../command-shape.js';

export function zshCompletion(program: CommandShape): string {
  const { name } = program;
  const functions = [...everyCommand(program)].map((command) => functionOf(name, command));
  return `#compdef ${name}
# Completion of ${name} for zsh. Made by: ${name} completion zsh

${functions.join('\n\n')}

# Loaded by compinit from a directory in $fpath, or sourced.
if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

const functionName = (name: string, command: CommandShape): string =>
  `_${[name, ...command.path].join('_').replaceAll('-', '_')}`;

function functionOf(name: string, command: CommandShape): string {
  const own = functionName(name, command);
  const options = command.options.map(optionSpec);
  if (command.commands.length === 0) {
    const specs = [...options, ...command.arguments.map(argumentSpec)];
    return `${own}() {\n  _arguments -s -S : ${specs.map((spec) => `\\\n    ${spec}`).join(' ')}\n}`;
  }
  const words = command.commands.flatMap((child) =>
    namesOf(child).map((word) => quoted(`${word}:${child.description}`)),
  );
  const cases = command.commands.map(
    (child) => `        (${namesOf(child).join('|')}) ${functionName(name, child)} ;;`,
  );
  return `${own}() {
  local curcontext=$curcontext context state state_descr line
  typeset -A opt_args
  local -a commands=(
${words.map((word) => `    ${word}`).join('\n')}
  )
  _arguments -C -S : ${options.map((spec) => `\\\n    ${spec}`).join(' ')} \\
    '1: :->command' '*:: :->rest'
  case $state in
    (command) _describe -t commands command commands ;;
    (rest)
      curcontext="\${curcontext%:*:*}:${[name, ...command.path].join('-')}-$line[1]:"
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}`;
}

const namesOf = (command: CommandShape): string[] => [command.name, ...command.aliases];

function optionSpec({ short, long, description, value, values }: OptionShape): string {
  const flags = [short, long].filter((flag) => flag !== null);
  const excluded = flags.length > 1 ? quoted(`(${flags.join(' ')})`) : '';
  // The value of a short flag may follow in the same word, that of a long flag after `=`.
  const forms = flags.map((flag) =>
    value === null ? flag : `${flag}${flag.startsWith('--') ? '=' : '+'}`,
  );
  const names = forms.length > 1 ? `{${forms.join(',')}}` : forms.join('');
  const help = `[${escaped(description, /[[\]\\:]/g)}]`;
  return `${excluded}${names}${quoted(`${help}${value === null ? '' : action(value, values)}`)}`;
}

function argumentSpec({ name, values, isVariadic }: ArgumentShape): string {
  return quoted(`${isVariadic ? '*' : ''}${action(name, values)}`);
}

function action(message: string, values: Values): string {
  const head = `:${escaped(message, /[\\:]/g)}:`;
  switch (values.kind) {
    case 'any':
      return `${head} `;
    case 'words': {
      const words = values.words.join(' ');
      return values.isList ? `${head}_sequence compadd - ${words}` : `${head}(${words})`;
    }
    case 'files':
      return `${head}_files`;
    case 'directories':
      return `${head}_files -/`;
  }
}

const escaped = (text: string, special: RegExp): string =>
  text.replace(special, (character) => `\\${character}`);

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
