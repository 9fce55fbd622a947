/**
 * What may be written to a stream besides plain text, by the conventions that users know from other
 * programs: no-color.org, force-color.org, bixense.com/clicolors, and terminfo's `dumb`. Each stream
 * is judged by itself.
 */

type Environment = Readonly<Record<string, string | undefined>>;

/** How a stream may be written to. */
export interface TerminalTraits {
  /** A person reads it as it is written. */
  readonly isTerminal: boolean;
  /** SGR sequences may be written. */
  readonly hasColors: boolean;
  /** The cursor may be moved, and lines written over. */
  readonly canRedraw: boolean;
}

/** Pure. @param isTerminal whether the stream itself is one, as isatty(3) tells */
export function terminalTraits(isTerminal: boolean, environment: Environment): TerminalTraits {
  const canRedraw = isTerminal && environment['TERM'] !== 'dumb';
  return { isTerminal, hasColors: hasColors(canRedraw, environment), canRedraw };
}

/** NO_COLOR is stronger than what asks for colors: who sets it cannot read them. */
function hasColors(isCapable: boolean, environment: Environment): boolean {
  if (valueOf(environment, 'NO_COLOR') !== '') return false;
  const forced = valueOf(environment, 'FORCE_COLOR');
  if (forced !== '') return forced !== '0' && forced !== 'false';
  if (!['', '0'].includes(valueOf(environment, 'CLICOLOR_FORCE'))) return true;
  return isCapable && valueOf(environment, 'CLICOLOR') !== '0';
}

const valueOf = (environment: Environment, name: string): string => environment[name] ?? '';
