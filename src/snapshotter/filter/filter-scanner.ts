/**
 * The characters of containerd's filter language: white space, words, and quoted strings with
 * Go's escapes. It knows nothing of selectors or snapshots. Each function moves forward only, so
 * a filter of any length is read once, without recursion.
 *
 * Source: behaviour of containerd pkg/filters scanner.go and quote.go.
 */
import type { Result } from '../../base/result.js';
import { ok, refuse } from '../../base/result.js';

/** Why a filter cannot be read. `index` counts UTF-16 units from the filter's start. */
export interface Mistake {
  readonly index: number;
  readonly why: string;
}

/**
 * What a word or a quoted string says. Null stands for bytes that are not UTF-8 (`"\xff"`): Go
 * keeps them, but no name or label on the wire can hold them, so they equal nothing.
 */
export type Text = string | null;

// Unicode's White_Space is what Go's unicode.IsSpace accepts; \s differs (U+0085, U+FEFF).
const WHITE_SPACE = /\p{White_Space}+/uy;

/** Where a filter stands while it is read. */
export class Cursor {
  readonly text: string;
  index = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** The next UTF-16 unit, or an empty string at the end. */
  peek(): string {
    return this.text.charAt(this.index);
  }

  /** Moves over what a sticky pattern matches here; undefined, and no move, when it does not. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.index;
    const taken = pattern.exec(this.text)?.[0];
    this.index += taken?.length ?? 0;
    return taken;
  }

  skipWhiteSpace(): void {
    this.take(WHITE_SPACE);
  }

  /** A mistake at the current place. */
  mistake(why: string): { readonly ok: false; readonly refusal: Mistake } {
    return refuse({ index: this.index, why });
  }

  /** The next character in words, for messages. */
  found(): string {
    const codePoint = this.text.codePointAt(this.index);
    if (codePoint === undefined) return 'the end';
    return JSON.stringify(String.fromCodePoint(codePoint));
  }
}

// U+FFFD is what Go's decoder answers for broken UTF-8, so upstream refuses it even when it was
// meant; a lone surrogate can only come from broken input as well.
const PLAIN_IN_QUOTES = /[^"/|\\\n\0\uFFFD\p{Cs}]+/uy;
const ESCAPE =
  /\\(?:(?<simple>[abfnrtv\\"/|])|(?<octal>[0-7]{3})|x(?<byte>[\da-fA-F]{2})|u(?<four>[\da-fA-F]{4})|U(?<eight>[\da-fA-F]{8}))/y;

const SIMPLE_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['a', '\x07'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['v', '\v'],
  ['\\', '\\'],
]);

const CODE_POINT_MAX = 0x10ffff;
const BYTE_MAX = 0xff;

/**
 * Reads a quoted string. The cursor stands on the opening quote, which is the closing one too.
 *
 * Refuses  a missing closing quote, a raw line end, NUL or U+FFFD inside, and any escape that Go
 *          does not know, such as `\d`: a regular expression needs `\\d`, or no quotes
 */
export function takeQuoted(cursor: Cursor): Result<Text, Mistake> {
  const start = cursor.index;
  const delimiter = cursor.peek();
  cursor.index += 1;
  const pieces: (string | number)[] = [];
  for (;;) {
    const next = cursor.peek();
    if (next === delimiter) {
      cursor.index += 1;
      return ok(joinPieces(pieces));
    }
    if (next === '\\') {
      const escape = takeEscape(cursor, delimiter);
      if (!escape.ok) return escape;
      pieces.push(escape.value);
      continue;
    }
    const plain = cursor.take(PLAIN_IN_QUOTES);
    if (plain !== undefined) {
      pieces.push(plain);
    } else if (next === '"' || next === '/' || next === '|') {
      pieces.push(next);
      cursor.index += 1;
    } else if (next === '') {
      return refuse({ index: start, why: `the quote ${delimiter} is never closed` });
    } else {
      return cursor.mistake(`${cursor.found()} cannot stand in quotes; write it as an escape`);
    }
  }
}

/** One escape: text, or a number for a single byte that need not be text by itself. */
function takeEscape(cursor: Cursor, delimiter: string): Result<string | number, Mistake> {
  ESCAPE.lastIndex = cursor.index;
  const match = ESCAPE.exec(cursor.text);
  const meaning = match?.groups === undefined ? undefined : meaningOf(match.groups, delimiter);
  if (match === null || meaning === undefined) {
    return cursor.mistake('this escape is not one of Go; a backslash itself is written \\\\');
  }
  cursor.index += match[0].length;
  return ok(meaning);
}

function meaningOf(
  groups: Readonly<Record<string, string | undefined>>,
  delimiter: string,
): string | number | undefined {
  const { simple, octal, byte } = groups;
  if (simple !== undefined) {
    return simple === delimiter ? simple : SIMPLE_ESCAPES.get(simple);
  }
  if (octal !== undefined) {
    const value = parseInt(octal, 8);
    return value > BYTE_MAX ? undefined : value;
  }
  if (byte !== undefined) return parseInt(byte, 16);
  return codePointOf(parseInt(groups['four'] ?? groups['eight'] ?? '', 16));
}

/**
 * Upstream computes in 32 bits with a sign. Eight digits from 80000000 up therefore come out
 * negative, pass its check for the largest code point, and leave their lowest byte.
 */
function codePointOf(digits: number): string | number | undefined {
  const value = digits | 0;
  if (value < 0) return value & BYTE_MAX;
  if (value > CODE_POINT_MAX) return undefined;
  const isSurrogate = value >= 0xd800 && value <= 0xdfff;
  return isSurrogate ? '\uFFFD' : String.fromCodePoint(value);
}

// Without ignoreBOM the decoder would drop a leading U+FEFF, which Go keeps.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes from escapes may complete each other to a character, so all are decoded at once. */
function joinPieces(pieces: readonly (string | number)[]): Text {
  if (pieces.every((piece) => typeof piece === 'string')) return pieces.join('');
  const bytes = Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : Buffer.of(piece))),
  );
  try {
    return utf8.decode(bytes);
  } catch (notUtf8) {
    if (notUtf8 instanceof TypeError) return null;
    throw notUtf8;
  }
}
