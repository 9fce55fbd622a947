/**
 * Which values on a command line are paths, by their names in the help. Every command needs this
 * before it begins, so it imports nothing of ours.
 */
import type { Command } from 'commander';

/** The name of an option's value, as the help writes it: `-a, --address <socket>`. Null for a switch. */
export const valueName = (flags: string): string | null =>
  /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1] ?? null;

/** What a path leads to; null for what is none. `dir|file|id` may be any of them. */
export function pathKind(name: string): 'files' | 'directories' | null {
  const sorts = name.split('|');
  if (sorts.some((sort) => /^(file|socket|path|mount)$/.test(sort))) return 'files';
  if (sorts.some((sort) => /^(dir|root|target)$/.test(sort))) return 'directories';
  return sorts.includes('source') ? 'files' : null;
}

/** The paths that a command was given, in options and arguments. */
export function givenPaths(command: Command): readonly string[] {
  const given: unknown[] = [];
  for (const option of command.options) {
    const isPath = pathKind(valueName(option.flags) ?? '') !== null;
    if (isPath) given.push(command.getOptionValue(option.attributeName()));
  }
  for (const [index, argument] of command.registeredArguments.entries()) {
    if (pathKind(argument.name()) !== null) given.push(command.processedArgs[index]);
  }
  return given.flat().filter((value) => typeof value === 'string');
}
