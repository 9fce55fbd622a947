/**
 * Whether bytes are a JSON object, without making one: a verify of ten million records needs the
 * answer and not the object. Says yes only where it is sure; where it does not, `parseBody`
 * decides. A property test holds the two together.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;
const MINUS = 0x2d;
const DOT = 0x2e;
/** Deeper ones are left to the parser. */
const DEPTH_MAX = 30;

/** Bytes that stand for themselves in a text: all but quotes, backslashes and control characters. */
const plain = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH ? 1 : 0,
);

/** Never true for what is none. False for texts with blanks between tokens, or that nest deeply. */
export function isSurelyObject(bytes: Uint8Array, start: number, end: number): boolean {
  return bytes[start] === OPEN_BRACE && valueEnd(bytes, start, end, 0) === end;
}

/** Offset behind the value that begins here; -1 for none. */
function valueEnd(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (at >= end || depth > DEPTH_MAX) return -1;
  const first: number = bytes[at] ?? 0;
  switch (first) {
    case QUOTE:
      return textEnd(bytes, at, end);
    case OPEN_BRACE:
      return objectEnd(bytes, at + 1, end, depth + 1);
    case OPEN_BRACKET:
      return listEnd(bytes, at + 1, end, depth + 1);
    case 0x74:
      return wordEnd(bytes, at, end, 'true');
    case 0x66:
      return wordEnd(bytes, at, end, 'false');
    case 0x6e:
      return wordEnd(bytes, at, end, 'null');
    default:
      return numberEnd(bytes, at, end);
  }
}

function objectEnd(bytes: Uint8Array, start: number, end: number, depth: number): number {
  let at = start;
  if (bytes[at] === CLOSE_BRACE && at < end) return at + 1;
  for (;;) {
    if (bytes[at] !== QUOTE) return -1;
    at = textEnd(bytes, at, end);
    if (at === -1 || at >= end || bytes[at] !== COLON) return -1;
    at = valueEnd(bytes, at + 1, end, depth);
    if (at === -1 || at >= end) return -1;
    if (bytes[at] === CLOSE_BRACE) return at + 1;
    if (bytes[at] !== COMMA) return -1;
    at += 1;
  }
}

function listEnd(bytes: Uint8Array, start: number, end: number, depth: number): number {
  let at = start;
  if (bytes[at] === CLOSE_BRACKET && at < end) return at + 1;
  for (;;) {
    at = valueEnd(bytes, at, end, depth);
    if (at === -1 || at >= end) return -1;
    if (bytes[at] === CLOSE_BRACKET) return at + 1;
    if (bytes[at] !== COMMA) return -1;
    at += 1;
  }
}

function textEnd(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start + 1; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (plain[byte] === 1) continue;
    if (byte === QUOTE) return at + 1;
    if (byte < 0x20) return -1;
    if (byte !== BACKSLASH) continue;
    at += 1;
    const escaped = at < end ? String.fromCharCode(bytes[at] ?? 0) : '';
    if (escaped === 'u') {
      for (const last = at + 4; at < last;) {
        at += 1;
        if (at >= end || !isHex(bytes[at] ?? 0)) return -1;
      }
    } else if (escaped === '' || !'"\\/bfnrt'.includes(escaped)) return -1;
  }
  return -1;
}

function wordEnd(bytes: Uint8Array, at: number, end: number, word: string): number {
  if (at + word.length > end) return -1;
  for (let index = 0; index < word.length; index += 1) {
    if (bytes[at + index] !== word.charCodeAt(index)) return -1;
  }
  return at + word.length;
}

/** Plain integers and decimals; exponents are left to the parser. */
function numberEnd(bytes: Uint8Array, start: number, end: number): number {
  const first = bytes[start] === MINUS ? start + 1 : start;
  let at = digitsEnd(bytes, first, end);
  if (at === first || (bytes[first] === 0x30 && at > first + 1)) return -1;
  if (at < end && bytes[at] === DOT) {
    const fraction = at + 1;
    at = digitsEnd(bytes, fraction, end);
    if (at === fraction) return -1;
  }
  return at;
}

function digitsEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && isDigit(bytes[at] ?? 0)) at += 1;
  return at;
}

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;

const isHex = (byte: number): boolean =>
  isDigit(byte) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
