/**
 * Completion for bash 4 and later, from the shape of the command line. The script contains all
 * candidates and does not need the bash-completion package.
 */
import { everyCommand, type CommandShape, type Values } from '../command-shape.js';

export function bashCompletion(program: CommandShape): string {
  const commands = [...everyCommand(program)];
  const { name } = program;
  return `# Completion of ${name} for bash. Made by: ${name} completion bash

# Sets at to the command before the cursor, as /layer/ls, and count to the number of its arguments.
_${name}_walk() {
  local i word skip=
  at= count=0
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash also splits words at = and at :.
    if [[ $word == [=:] ]]; then
      skip=1
      continue
    elif [[ $skip ]]; then
      skip=
      continue
    fi
    case $at/$word in
${commands.flatMap(stepCases).join('\n')}
${skipCase(commands)}
      */-*) ;;
      *) ((++count)) ;;
    esac
  done
}

# Completes a value: _${name}_values words|list|files|directories WORDS
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

const pathOf = (command: CommandShape): string => command.path.map((word) => `/${word}`).join('');

const namesOf = (command: CommandShape): string[] => [command.name, ...command.aliases];

function stepCases(command: CommandShape): string[] {
  if (command.path.length === 0) return [];
  const parent = pathOf({ ...command, path: command.path.slice(0, -1) });
  const patterns = namesOf(command).map((name) => `${parent}/${name}`);
  return [`      ${patterns.join(' | ')}) at=${pathOf(command)} ;;`];
}

/** Patterns of the flags that take a value. */
const valueFlags = (command: CommandShape): string[] =>
  command.options
    .filter(({ value }) => value !== null)
    .flatMap(({ short, long }) => [short, long])
    .flatMap((flag) => (flag === null ? [] : [`${pathOf(command)}/${flag}`]));

function skipCase(commands: readonly CommandShape[]): string {
  return `      ${commands.flatMap(valueFlags).join(' | ')}) skip=1 ;;`;
}

function valueCases(name: string, command: CommandShape): string[] {
  return command.options
    .filter(({ value }) => value !== null)
    .map(({ short, long, values }) => {
      const flags = [short, long].filter((flag) => flag !== null);
      const patterns = flags.map((flag) => `${pathOf(command)}/${flag}`).join(' | ');
      // Returns even without candidates: a flag cannot follow here.
      return `    ${patterns})${offer(name, values)} return ;;`;
    });
}

function flagCase(name: string, command: CommandShape): string {
  const flags = command.options.flatMap(({ short, long }) => [long, short]);
  const words = flags.filter((flag) => flag !== null).join(' ');
  return `      '${pathOf(command)}') _${name}_values words '${words}' ;;`;
}

function argumentCases(name: string, command: CommandShape): string[] {
  const path = pathOf(command);
  if (command.commands.length > 0) {
    const words = command.commands.flatMap(namesOf).join(' ');
    return [`    ${path}/0) _${name}_values words '${words}' ;;`];
  }
  return command.arguments.flatMap(({ values, isVariadic }, index) => {
    const pattern = `${path}/${isVariadic ? '*' : index}`;
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
