/**
 * The command line as plain data, read from the very objects that parse it: what shells complete,
 * the man page and the command reference are all made from this. It knows how to read commander;
 * which form the data takes on a page or in a shell is left to others.
 */
import type { Argument, Command, Option } from 'commander';
import { pathKind, valueName } from './path-values.js';
import { DAEMON_EVENTS } from '../../machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../../machines/events/events.js';

/** What may stand for a value. */
export type Values =
  | { readonly kind: 'any' }
  /** `isList`: several, separated by commas. */
  | { readonly kind: 'words'; readonly words: readonly string[]; readonly isList: boolean }
  | { readonly kind: 'files' }
  | { readonly kind: 'directories' };

export interface OptionShape {
  /** As the help writes it: `-a, --address <socket>`. */
  readonly flags: string;
  /** `-a`, when there is one. */
  readonly short: string | null;
  /** `--address`, when there is one. */
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
  /** As the help writes it: `<source>`, `[name...]`. */
  readonly term: string;
  readonly description: string;
  readonly values: Values;
  readonly isVariadic: boolean;
}

export interface CommandShape {
  readonly name: string;
  /** The words that lead to it, without the program's name; empty for the program. */
  readonly path: readonly string[];
  readonly aliases: readonly string[];
  readonly description: string;
  /** `stratalog layer ls [options]` */
  readonly usage: string;
  readonly options: readonly OptionShape[];
  readonly arguments: readonly ArgumentShape[];
  readonly commands: readonly CommandShape[];
  /** What its help says behind the options: examples, exit codes. */
  readonly notes: string;
}

export function shapeOf(command: Command, path: readonly string[] = []): CommandShape {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  // `help` is commander's own; it is told apart by not being among those that we added.
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

/** A group may have a sub-command that is meant when none is named; its flags stand behind the group. */
function optionsOf(command: Command): Option[] {
  const help = command.createHelp();
  const own = help.visibleOptions(command);
  const meant = defaultCommandOf(command);
  const more = meant === undefined ? [] : help.visibleOptions(meant);
  return [...own, ...more.filter(({ flags }) => own.every((option) => option.flags !== flags))];
}

/** commander keeps this name to itself; without it the flags would only not be offered. */
export function defaultCommandOf(command: Command): Command | undefined {
  const name: unknown = Reflect.get(command, '_defaultCommandName');
  return command.commands.find((child) => child.name() === name);
}

/** This command and all below it, in the order of the help. */
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
  const plain: unknown = option.defaultValue;
  // `--no-trunc` has a default of true, which tells nobody anything.
  const told = typeof plain === 'string' && plain !== '' ? plain : null;
  return {
    flags,
    short: short ?? null,
    long: long ?? null,
    description,
    value,
    values: valuesOf(value ?? '', option.argChoices),
    fallback: defaultValueDescription ?? told,
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

/** A value's name says what it is: that is the convention of all our commands. */
function valuesOf(name: string, choices: readonly string[] | undefined): Values {
  if (choices !== undefined) return { kind: 'words', words: choices, isList: false };
  if (name === 'types') {
    const words = [...Object.keys(SNAPSHOT_EVENTS), ...Object.keys(DAEMON_EVENTS)];
    return { kind: 'words', words, isList: true };
  }
  return { kind: pathKind(name) ?? 'any' };
}

/** Printed by commander behind its own help; nothing hands it out alone. */
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
