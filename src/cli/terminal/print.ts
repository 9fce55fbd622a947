/**
 * How every command prints: results go to stdout as a table, as lines or as JSON. Untrusted text
 * (keys, labels, paths) is escaped before it is printed. Digests are shortened only on a terminal.
 * Lines are never truncated.
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

/** Size of the output buffer, in UTF-16 units. */
const PENDING_MAX = 32 * 1024;

export class Output {
  readonly terminal: TerminalTraits;
  /** Identity functions when colors are off. */
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

  /** Like all methods that print: @throws OutputClosed, OutputFailed */
  async line(text: string): Promise<void> {
    const line = this.#isShort ? shortDigests(text) : text;
    this.#pending.push(line, '\n');
    this.#pendingLength += line.length + 1;
    if (this.#pendingLength >= PENDING_MAX) await this.flush();
  }

  /** Rows in columns under a heading. Column widths are those of the shortened digests. */
  async table(head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
    const short = this.#isShort ? rows.map((row) => row.map(shortDigests)) : rows;
    // Loaded on demand: it takes a fifth of the run time of a short command.
    const { tableLines } = await import('./table.js');
    await this.lines(tableLines(head, short));
  }

  async lines(texts: Iterable<string>): Promise<void> {
    for (const text of texts) await this.line(text);
  }

  /** One JSON object on its own line. `kind` names its schema. */
  async json(kind: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
    this.#pending.push(jsonOf(kind, fields), '\n');
    this.#pendingLength += PENDING_MAX / 64;
    if (this.#pendingLength >= PENDING_MAX) await this.flush();
  }

  /** Writes the buffer and waits until the operating system has accepted it. */
  async flush(): Promise<void> {
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingLength = 0;
    await (text === '' ? this.#writer.settled() : this.#writer.write(text));
  }
}

/**
 * Runs a command with stdout as its output. Buffered output is written even if the command fails:
 * what it found before the failure is part of the result.
 */
export async function withOutput(
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

/** The schema comes first, so that it is easy to see in a long line. */
function jsonOf(kind: string, fields: Readonly<Record<string, unknown>>): string {
  return visibleJson(JSON.stringify({ schema: `stratalog.${kind}/v1`, ...fields }));
}

/** Prints a message to stderr, apart from the results. */
export function printNotice(text: string): void {
  process.stderr.write(`stratalog: ${text}\n`);
}

/** A size in the format of ctr: `3.4 MiB`. */
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

/** Control characters, format characters (which can reverse the text direction), line separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Escapes unprintable characters as `\u{1b}`. Keys and labels are untrusted: image authors set them. */
export function visible(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16).padStart(2, '0')}}`;
  });
}

/** The same for a line of JSON, with JSON escapes: `\u202e`, a surrogate pair above U+FFFF. */
export function visibleJson(line: string): string {
  return line.replace(UNPRINTABLE, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** Shortens digests to twelve digits, as docker does. */
export function shortDigests(line: string): string {
  return line.replace(/\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b/g, '$1');
}

/** Truncates a line to a number of characters, with an ellipsis. Colors take no width. */
export function truncateLine(line: string, width: number): string {
  let room = width;
  let kept = '';
  let hasColor = false;
  // The text is escaped, so color sequences are its only control characters.
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
