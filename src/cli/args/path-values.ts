/**
 * Determines by their names in the help which values on a command line are paths. Every command
 * loads this file, so it imports none of ours.
 */
import type { Command } from 'commander';

/** The name of an option's value, as in `-a, --address <socket>`. Null for a switch. */
export const valueName = (flags: string): string | null =>
  /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1] ?? null;

/** Null if the value is not a path. `dir|file|id` may be any of them. */
export function pathKind(name: string): 'files' | 'directories' | null {
  const kinds = name.split('|');
  if (kinds.some((kind) => /^(file|socket|path|mount)$/.test(kind))) return 'files';
  if (kinds.some((kind) => /^(dir|root|target)$/.test(kind))) return 'directories';
  return kinds.includes('source') ? 'files' : null;
}

/** The paths in the options and arguments of a command. */
export function pathsIn(command: Command): readonly string[] {
  const values: unknown[] = [];
  for (const option of command.options) {
    const isPath = pathKind(valueName(option.flags) ?? '') !== null;
    if (isPath) values.push(command.getOptionValue(option.attributeName()));
  }
  for (const [index, argument] of command.registeredArguments.entries()) {
    if (pathKind(argument.name()) !== null) values.push(command.processedArgs[index]);
  }
  return values.flat().filter((value) => typeof value === 'string');
}
