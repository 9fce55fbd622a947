/**
 * How every command prints: results to stdout as a table, as lines or as JSON. What strangers
 * chose (keys, labels, paths) is made visible before it reaches a terminal; digests are shortened
 * only where there is a terminal. Lines are never cut: what one came for may stand at their end.
 */
import pico from 'picocolors';
import { errnoOf, reasonOf } from '../base/errors.js';
import { EXIT } from './exit-codes.js';
import { OutputClosed } from './output-closed.js';

type Colors = ReturnType<typeof pico.createColors>;

/** What `Output` needs of a stream; process.stdout is one. */
export type OutputStream = Pick<NodeJS.WriteStream, 'write' | 'on'> & {
  readonly isTTY?: boolean;
  readonly columns?: number;
};

/** Text that is gathered before it is written, in UTF-16 units. */
const PENDING_MAX = 32 * 1024;

export class Output {
  readonly isTerminal: boolean;
  /** Plain functions unless this is a terminal and NO_COLOR is unset (no-color.org). */
  readonly colors: Colors;
  readonly #stream: OutputStream;
  readonly #isShort: boolean;
  #pending: string[] = [];
  #pendingLength = 0;
  #failure: Error | null = null;
  readonly #onError = (fault: Error): void => {
    this.#failure ??= errnoOf(fault) === 'EPIPE' ? new OutputClosed() : fault;
  };

  /** `isShort`: whether digests may be shortened on a terminal. */
  constructor(stream: OutputStream, options: { readonly isShort: boolean; noColor?: boolean }) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY === true;
    this.colors = pico.createColors(this.isTerminal && options.noColor !== true);
    this.#isShort = this.isTerminal && options.isShort;
    stream.on('error', this.#onError);
  }

  /** Fails with OutputClosed once the reader has gone. */
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

  /** Hands what was gathered to the stream and waits until it is taken. */
  async flush(): Promise<void> {
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingLength = 0;
    if (text !== '' && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#stream.write(text, (fault) => {
          if (fault) this.#onError(fault);
          resolve();
        });
      });
    }
    if (this.#failure !== null) throw this.#failure;
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
  const noColor = (process.env['NO_COLOR'] ?? '') !== '';
  const out = new Output(process.stdout, { isShort: options.trunc !== false, noColor });
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

/** A short result that is written at once. That its reader has gone is no failure; a full disk is. */
export function writeOut(text: string): void {
  // Help comes in several pieces.
  process.stdout.off('error', tellUnwritten).on('error', tellUnwritten).write(text);
}

function tellUnwritten(fault: Error): void {
  if (errnoOf(fault) === 'EPIPE') return;
  say(`the output cannot be written: ${reasonOf(fault)}`);
  process.exitCode = EXIT.failed;
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
