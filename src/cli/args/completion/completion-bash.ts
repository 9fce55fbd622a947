/**
 * Completion for bash 4 and later, from the shape of the command line. The script asks nobody at
 * the press of a key: all it offers stands in it. It needs no bash-completion package.
 */
import { everyCommand, type CommandShape, type Values } from '../command-shape.js';

export function bashCompletion(program: CommandShape): string {
  const commands = [...everyCommand(program)];
  const { name } = program;
  return `# Completion of ${name} for bash. Made by: ${name} completion bash

# The command that the words before the cursor lead to, as /layer/ls, and how many arguments it has.
_${name}_walk() {
  local i word skip=
  at= count=0
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash makes words of = and of : too.
    if [[ $word == [=:] ]]; then
      skip=1
      continue
    elif [[ $skip ]]; then
      skip=
      continue
    fi
    case $at/$word in
${commands.flatMap(stepCases).join('\n')}
${takersOf(commands)}
      */-*) ;;
      *) ((++count)) ;;
    esac
  done
}

# What stands for a value: _${name}_values words|list|files|directories WORDS
_${name}_values() {
  local before=
  case $1 in
    words) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$cur") ;;
    list)
      [[ $cur == *,* ]] && before=\${cur%,*},
      mapfile -t COMPREPLY < <(compgen -W "$2" -P "$before" -- "\${cur##*,}")
      compopt -o nospace
      ;;
    files)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      ;;
    directories)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$cur")
      ;;
  esac
}

_${name}() {
  local cur prev at count
  cur=\${COMP_WORDS[COMP_CWORD]}
  prev=\${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  _${name}_walk
  case $at/$prev in
${commands.flatMap((command) => valueCases(name, command)).join('\n')}
  esac
  if [[ $cur == -* ]]; then
    case $at in
${commands.map((command) => flagCase(name, command)).join('\n')}
    esac
    return
  fi
  case $at/$count in
${commands.flatMap((command) => argumentCases(name, command)).join('\n')}
  esac
}

complete -F _${name} ${name}
`;
}

const placeOf = (command: CommandShape): string => command.path.map((word) => `/${word}`).join('');

const namesOf = (command: CommandShape): string[] => [command.name, ...command.aliases];

function stepCases(command: CommandShape): string[] {
  if (command.path.length === 0) return [];
  const above = placeOf({ ...command, path: command.path.slice(0, -1) });
  const patterns = namesOf(command).map((name) => `${above}/${name}`);
  return [`      ${patterns.join(' | ')}) at=${placeOf(command)} ;;`];
}

const takers = (command: CommandShape): string[] =>
  command.options
    .filter(({ value }) => value !== null)
    .flatMap(({ short, long }) => [short, long])
    .flatMap((flag) => (flag === null ? [] : [`${placeOf(command)}/${flag}`]));

function takersOf(commands: readonly CommandShape[]): string {
  return `      ${commands.flatMap(takers).join(' | ')}) skip=1 ;;`;
}

function valueCases(name: string, command: CommandShape): string[] {
  return command.options
    .filter(({ value }) => value !== null)
    .map(({ short, long, values }) => {
      const flags = [short, long].filter((flag) => flag !== null);
      const patterns = flags.map((flag) => `${placeOf(command)}/${flag}`).join(' | ');
      // Nothing to offer is an answer too: no flag belongs there.
      return `    ${patterns})${offer(name, values)} return ;;`;
    });
}

function flagCase(name: string, command: CommandShape): string {
  const flags = command.options.flatMap(({ short, long }) => [long, short]);
  const words = flags.filter((flag) => flag !== null).join(' ');
  return `      '${placeOf(command)}') _${name}_values words '${words}' ;;`;
}

function argumentCases(name: string, command: CommandShape): string[] {
  const place = placeOf(command);
  if (command.commands.length > 0) {
    const words = command.commands.flatMap(namesOf).join(' ');
    return [`    ${place}/0) _${name}_values words '${words}' ;;`];
  }
  return command.arguments.flatMap(({ values, isVariadic }, index) => {
    const pattern = `${place}/${isVariadic ? '*' : index}`;
    const offered = offer(name, values);
    return offered === '' ? [] : [`    ${pattern})${offered} ;;`];
  });
}

function offer(name: string, values: Values): string {
  switch (values.kind) {
    case 'any':
      return '';
    case 'words':
      return ` _${name}_values ${values.isList ? 'list' : 'words'} '${values.words.join(' ')}';`;
    case 'files':
    case 'directories':
      return ` _${name}_values ${values.kind};`;
  }
}
