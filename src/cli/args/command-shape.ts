/**
 * The command line as plain data, read from the objects that parse it. Shell completion, the man
 * page and the command reference are generated from it. Only this file knows commander's objects.
 */
import type { Argument, Command, Option } from 'commander';
import { pathKind, valueName } from './path-values.js';
import { DAEMON_EVENTS } from '../../machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../../machines/events/events.js';

/** The values that an option or argument accepts. */
export type Values =
  | { readonly kind: 'any' }
  /** `isList`: several words, separated by commas. */
  | { readonly kind: 'words'; readonly words: readonly string[]; readonly isList: boolean }
  | { readonly kind: 'files' }
  | { readonly kind: 'directories' };

export interface OptionShape {
  /** As in the help: `-a, --address <socket>`. */
  readonly flags: string;
  /** `-a`, or null. */
  readonly short: string | null;
  /** `--address`, or null. */
  readonly long: string | null;
  readonly description: string;
  /** The name of its value; null for a switch. */
  readonly value: string | null;
  readonly values: Values;
  readonly fallback: string | null;
  readonly isMandatory: boolean;
}

export interface ArgumentShape {
  readonly name: string;
  /** As in the help: `<source>`, `[name...]`. */
  readonly term: string;
  readonly description: string;
  readonly values: Values;
  readonly isVariadic: boolean;
}

export interface CommandShape {
  readonly name: string;
  /** The words before the arguments, without the program's name; empty for the program. */
  readonly path: readonly string[];
  readonly aliases: readonly string[];
  readonly description: string;
  /** `stratalog layer ls [options]` */
  readonly usage: string;
  readonly options: readonly OptionShape[];
  readonly arguments: readonly ArgumentShape[];
  readonly commands: readonly CommandShape[];
  /** The help text after the options: examples, exit codes. */
  readonly notes: string;
}

export function shapeOf(command: Command, path: readonly string[] = []): CommandShape {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  // `help` is commander's own command: it is not among those that we added.
  const own = children.filter((child) => command.commands.includes(child));
  const names = own.map((child) => child.name());
  return {
    name: command.name(),
    path,
    aliases: command.aliases(),
    description: command.description(),
    usage: help.commandUsage(command).replaceAll('|', ' | '),
    options: optionsOf(command).map(optionShape),
    arguments: command.registeredArguments.map(argumentShape),
    commands: children.map((child) =>
      own.includes(child)
        ? shapeOf(child, [...path, child.name()])
        : helpShape(shapeOf(child, [...path, child.name()]), names),
    ),
    notes: notesOf(command),
  };
}

/** A group may have a default sub-command, and then accepts the flags of that sub-command. */
function optionsOf(command: Command): Option[] {
  const help = command.createHelp();
  const own = help.visibleOptions(command);
  const fallback = defaultCommandOf(command);
  const inherited = fallback === undefined ? [] : help.visibleOptions(fallback);
  return [
    ...own,
    ...inherited.filter(({ flags }) => own.every((option) => option.flags !== flags)),
  ];
}

/** Reads a private field of commander. If it is renamed, only completion of these flags is lost. */
export function defaultCommandOf(command: Command): Command | undefined {
  const name: unknown = Reflect.get(command, '_defaultCommandName');
  return command.commands.find((child) => child.name() === name);
}

/** This command and all its sub-commands, in the order of the help. */
export function* everyCommand(shape: CommandShape): Generator<CommandShape, void, undefined> {
  yield shape;
  for (const child of shape.commands) yield* everyCommand(child);
}

function helpShape(shape: CommandShape, names: readonly string[]): CommandShape {
  const values: Values = { kind: 'words', words: names, isList: false };
  return { ...shape, arguments: shape.arguments.map((argument) => ({ ...argument, values })) };
}

function optionShape(option: Option): OptionShape {
  const { flags, short, long, description, defaultValueDescription } = option;
  const value = valueName(flags);
  const defaultValue: unknown = option.defaultValue;
  // The default of a switch such as `--no-trunc` is true, which is not worth showing.
  const shown = typeof defaultValue === 'string' && defaultValue !== '' ? defaultValue : null;
  return {
    flags,
    short: short ?? null,
    long: long ?? null,
    description,
    value,
    values: valuesOf(value ?? '', option.argChoices),
    fallback: defaultValueDescription ?? shown,
    isMandatory: option.mandatory,
  };
}

function argumentShape(argument: Argument): ArgumentShape {
  const { description, variadic, required, argChoices } = argument;
  const name = argument.name();
  const inner = `${name}${variadic ? '...' : ''}`;
  return {
    name,
    term: required ? `<${inner}>` : `[${inner}]`,
    description,
    values: valuesOf(name, argChoices),
    isVariadic: variadic,
  };
}

/** By convention, the name of a value determines its type in all commands. */
function valuesOf(name: string, choices: readonly string[] | undefined): Values {
  if (choices !== undefined) return { kind: 'words', words: choices, isList: false };
  if (name === 'types') {
    const words = [...Object.keys(SNAPSHOT_EVENTS), ...Object.keys(DAEMON_EVENTS)];
    return { kind: 'words', words, isList: true };
  }
  return { kind: pathKind(name) ?? 'any' };
}

/** commander prints it after its own help and has no accessor for it. */
function notesOf(command: Command): string {
  let printed = '';
  const output = command.configureOutput();
  command.configureOutput({
    writeOut: (text) => {
      printed += text;
    },
  });
  command.outputHelp();
  command.configureOutput(output);
  const help = command.helpInformation();
  const from = printed.indexOf(help);
  return from < 0 ? '' : printed.slice(from + help.length).trim();
}
