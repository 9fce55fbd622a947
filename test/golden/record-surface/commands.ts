/** All commands with their arguments, options, choices and defaults, as commander parses them. */
import type { Argument, Command, Option } from 'commander';
import { buildProgram } from '../../../src/cli/main.js';
import type { SurfacePart } from './part.js';

export const commands: SurfacePart = {
  file: 'commands.txt',
  record: async () => `${[...linesOf(await buildProgram(), [])].join('\n')}\n`,
};

/** The words of every command that does something. */
export async function workingCommands(): Promise<readonly (readonly string[])[]> {
  return [...workers(await buildProgram(), [])];
}

function* workers(command: Command, path: readonly string[]): Generator<readonly string[]> {
  if (command.commands.length === 0) yield path;
  for (const child of command.commands) yield* workers(child, [...path, child.name()]);
}

function* linesOf(command: Command, path: readonly string[]): Generator<string> {
  yield [...['stratalog', ...path], ...command.aliases().map((alias) => `(or ${alias})`)].join(' ');
  for (const argument of command.registeredArguments) yield `  ${argumentText(argument)}`;
  // In the order of their names: the order of the help is wording.
  yield* command.options.map((option) => `  ${optionText(option)}`).sort();
  for (const child of command.commands) yield* linesOf(child, [...path, child.name()]);
}

/** Without the names that a help gives to values: those are wording. */
function argumentText(argument: Argument): string {
  const { required, variadic, argChoices } = argument;
  const term = required ? '<argument>' : '[argument]';
  const more = variadic ? ['variadic'] : [];
  return [term, ...more, ...choicesAndDefault(argChoices, argument)].join(' ');
}

function optionText(option: Option): string {
  const { long, short, required, optional, variadic, mandatory, argChoices, hidden } = option;
  const value = required ? ['<value>'] : optional ? ['[value]'] : [];
  const traits = Object.entries({ variadic, mandatory, hidden }).flatMap(([name, isSo]) =>
    isSo ? [name] : [],
  );
  const names = [long, short].filter((name) => name !== undefined).join(', ');
  const more = choicesAndDefault(argChoices, option);
  return [names, ...value, ...traits, ...more].join(' ');
}

/** The default as the user would write it: a parsed value is no part of the command line. */
function choicesAndDefault(
  choices: readonly string[] | undefined,
  {
    defaultValue,
    defaultValueDescription,
  }: Pick<Option, 'defaultValue' | 'defaultValueDescription'>,
): string[] {
  const fallback: unknown = defaultValueDescription ?? defaultValue;
  return [
    ...(choices === undefined ? [] : [`one of ${choices.join('|')}`]),
    ...(fallback === undefined ? [] : [`= ${JSON.stringify(fallback)}`]),
  ];
}
