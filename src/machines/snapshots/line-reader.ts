/**
 * Reads the fixed beginning of a state's line (state-json.ts) where it stands, field by field,
 * without parsing it: `[14,"active",0,"name",null,…`. Throws TypeError where the line is malformed.
 */
const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const NINE = 0x39;

/** Where a text stands in the buffer, between its quotes. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export class LineReader {
  at: number;

  constructor(
    private readonly bytes: Buffer,
    start: number,
  ) {
    if (bytes[start] !== 0x5b) throw malformed('a line is no list');
    this.at = start + 1;
  }

  number(): number {
    let value = 0;
    const start = this.at;
    for (; ; this.at += 1) {
      const digit = this.bytes[this.at] ?? 0;
      if (digit < ZERO || digit > NINE) break;
      value = value * 10 + digit - ZERO;
    }
    if (this.at === start) throw malformed('a number is missing');
    this.#comma();
    return value;
  }

  /** Null for `null`. */
  text(): Span | null {
    let span: Span | null = null;
    if (this.bytes[this.at] === QUOTE) span = this.#quoted();
    else this.at += 'null'.length;
    this.#comma();
    return span;
  }

  /** The next key of an object whose values are texts, to be followed by `value`; null behind the last. */
  key(): Span | null {
    // Passes the brace or comma before it.
    this.at += 1;
    return this.bytes[this.at] === QUOTE ? this.#quoted() : null;
  }

  value(): Span {
    this.at += 1;
    return this.#quoted();
  }

  #quoted(): Span {
    const start = this.at + 1;
    let end = this.bytes.indexOf(QUOTE, start);
    while (this.bytes[end - 1] === BACKSLASH && this.#isEscaped(start, end)) {
      end = this.bytes.indexOf(QUOTE, end + 1);
    }
    if (end === -1) throw malformed('a text without an end');
    this.at = end + 1;
    return { start, end };
  }

  #isEscaped(start: number, quote: number): boolean {
    let first = quote;
    while (first > start && this.bytes[first - 1] === BACKSLASH) first -= 1;
    return (quote - first) % 2 === 1;
  }

  #comma(): void {
    if (this.bytes[this.at] !== COMMA) throw malformed('a comma is missing');
    this.at += 1;
  }
}

export const malformed = (what: string): TypeError =>
  new TypeError(`the checkpoint is malformed: ${what}`);
