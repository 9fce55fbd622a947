/**
 * How every command prints: results to stdout as a table, as lines or as JSON. What strangers
 * chose (keys, labels, paths) is made visible before it reaches a terminal; digests are shortened
 * only where there is a terminal. Lines are never cut: what one came for may stand at their end.
 */
import { isatty } from 'node:tty';
import pico from 'picocolors';
import { terminalTraits, type TerminalTraits } from '../../base/terminal.js';
import { stdout, type ResultWriter } from './result-writer.js';

type Colors = ReturnType<typeof pico.createColors>;

interface OutputOptions {
  readonly terminal: TerminalTraits;
  /** Whether digests may be shortened on a terminal. */
  readonly isShort: boolean;
}

/** Text that is gathered before it is written, in UTF-16 units. */
const PENDING_MAX = 32 * 1024;

export class Output {
  readonly terminal: TerminalTraits;
  /** Plain functions where no colors are wanted. */
  readonly colors: Colors;
  readonly #writer: ResultWriter;
  readonly #isShort: boolean;
  #pending: string[] = [];
  #pendingLength = 0;

  constructor(writer: ResultWriter, { terminal, isShort }: OutputOptions) {
    this.#writer = writer;
    this.terminal = terminal;
    this.colors = pico.createColors(terminal.hasColors);
    this.#isShort = terminal.isTerminal && isShort;
  }

  /** @throws OutputClosed, OutputFailed; so do the others */
  async line(text: string): Promise<void> {
    const line = this.#isShort ? shortDigests(text) : text;
    this.#pending.push(line, '\n');
    this.#pendingLength += line.length + 1;
    if (this.#pendingLength >= PENDING_MAX) await this.flush();
  }

  /** Rows in columns under a heading. Digests that are shortened are so before columns are laid. */
  async table(head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
    const short = this.#isShort ? rows.map((row) => row.map(shortDigests)) : rows;
    // Few commands print a table, and its library takes a fifth of a short command to load.
    const { tableLines } = await import('./table.js');
    await this.lines(tableLines(head, short));
  }

  async lines(texts: Iterable<string>): Promise<void> {
    for (const text of texts) await this.line(text);
  }

  /** One JSON object on a line of its own, never cut. `kind` names its schema. */
  async json(kind: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
    this.#pending.push(jsonOf(kind, fields), '\n');
    this.#pendingLength += PENDING_MAX / 64;
    if (this.#pendingLength >= PENDING_MAX) await this.flush();
  }

  /** Writes what was gathered, and waits until it is taken. */
  async flush(): Promise<void> {
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingLength = 0;
    await (text === '' ? this.#writer.settled() : this.#writer.write(text));
  }
}

/**
 * Runs a command with stdout as its output, and writes out what it gathered also when it fails:
 * what was found before a failure is a result.
 */
export async function printing(
  options: { readonly trunc?: boolean },
  run: (out: Output) => Promise<void>,
): Promise<void> {
  const terminal = terminalTraits(isatty(1), process.env);
  const out = new Output(stdout, { terminal, isShort: options.trunc !== false });
  try {
    await run(out);
  } finally {
    await out.flush();
  }
}

/** The schema's name stands first, so that a person sees it in a long line. */
function jsonOf(kind: string, fields: Readonly<Record<string, unknown>>): string {
  return visibleJson(JSON.stringify({ schema: `stratalog.${kind}/v1`, ...fields }));
}

/** One line beside the results, for people. */
export function say(text: string): void {
  process.stderr.write(`stratalog: ${text}\n`);
}

/** As ctr writes sizes: `3.4 MiB`. */
export function humanSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** What moves a cursor, rings a bell or turns the reading direction. */
const STRANGE = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** The text with what is strange written as `\u{1b}`: whoever built an image chose keys and labels. */
export function visible(text: string): string {
  return text.replace(STRANGE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16).padStart(2, '0')}}`;
  });
}

/** The same for a line of JSON, which stays JSON: `\u202e`, and two of these beyond U+FFFF. */
export function visibleJson(line: string): string {
  return line.replace(STRANGE, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** Digests by their first twelve digits, enough to tell layers apart by eye. */
export function shortDigests(line: string): string {
  return line.replace(/\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b/g, '$1');
}

/** The line cut to a number of characters, with an ellipsis; colours take no room. */
export function fit(line: string, width: number): string {
  let room = width;
  let kept = '';
  let hasColor = false;
  // Our own colours are the only control characters that are left.
  for (const [part] of line.matchAll(/\p{Cc}\[\d+m|./gsu)) {
    const isColor = part.length > 2;
    hasColor ||= isColor;
    if (!isColor && room === 0) {
      const cut = kept.replace(/.$/su, '…');
      return hasColor ? `${cut}\u001b[0m` : cut;
    }
    if (!isColor) room -= 1;
    kept += part;
  }
  return kept;
}
