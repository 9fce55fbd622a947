/**
 * containerd's filter language, as List takes it: a list of alternatives, each a comma-separated
 * conjunction of selectors such as `labels."a.b/c"==x`. It parses to a plain predicate. What
 * containerd accepts, refuses and matches is kept with all its corners, since clients are written
 * against those; the only rules of our own are the two limits on size.
 *
 * Source: behaviour of containerd pkg/filters parser.go and filter.go; field names from
 * adaptSnapshot, core/snapshots/storage/bolt.go.
 */
import { RE2JS, RE2JSException } from 're2js';
import { assertNever } from '../../base/assert.js';
import { TARGET_LABEL } from '../../base/target-label.js';
import type { Result } from '../../base/result.js';
import { ok, refuse } from '../../base/result.js';
import type { Refusal } from '../../machines/refusals.js';
import { refusals } from '../../machines/refusals.js';
import type { Mistake, Text } from './filter-scanner.js';
import { Cursor, takeQuoted } from './filter-scanner.js';
import { patternSize } from './pattern-size.js';

/** What a filter can ask about a snapshot. */
export interface Filterable {
  readonly name: string;
  /** Name of the parent; empty when there is none. */
  readonly parent: string;
  readonly kind: 'active' | 'view' | 'committed';
  readonly labels: ReadonlyMap<string, string>;
}

export type Filter = (info: Filterable) => boolean;

/**
 * All filters of one List together, in UTF-16 units. Every snapshot may be held against every
 * selector, on the one thread that serves everybody.
 */
export const FILTERS_LENGTH_MAX = 256 * 1024;

/**
 * All regular expressions of one List together, in UTF-16 units, with their repetitions written
 * out: seven characters (`x{1000}`) make a thousand instructions. This is what bounds the time and
 * memory of compiling, and the time each snapshot takes.
 */
export const PATTERNS_LENGTH_MAX = 4096;

type Field =
  | { readonly of: 'kind' | 'name' | 'parent' | 'unknown' }
  | { readonly of: 'label'; readonly key: Text };

type Comparison = '==' | '!=' | '~=';

type Selector =
  | { readonly operator: 'present'; readonly field: Field }
  | { readonly operator: Comparison; readonly field: Field; readonly value: Text };

/**
 * Parses the filters of one List.
 *
 * Shape    alternatives are OR-ed; an empty list, or an empty string among them, matches all
 * Refuses  InvalidFilter, with the byte offset, for the first filter that does not parse; also
 *          when FILTERS_LENGTH_MAX or PATTERNS_LENGTH_MAX is passed, which upstream does not limit
 * Keeps    a regular expression that does not compile matches nothing and is no error
 */
export function parseFilters(filters: readonly string[]): Result<Filter, Refusal> {
  const alternatives: Filter[] = [];
  let filtersLength = 0;
  let patternsLength = 0;
  for (const filter of filters) {
    filtersLength += filter.length;
    if (filtersLength > FILTERS_LENGTH_MAX) {
      return tooLong(filter, 'filters', FILTERS_LENGTH_MAX);
    }
    const selectors = parseSelectors(filter);
    if (!selectors.ok) return refuse(refusals.invalidFilter(filter, located(filter, selectors)));
    patternsLength += patternsLengthOf(selectors.value);
    if (patternsLength > PATTERNS_LENGTH_MAX) {
      return tooLong(
        filter,
        'regular expressions, with their repetitions written out,',
        PATTERNS_LENGTH_MAX,
      );
    }
    const tests = selectors.value.map(testOf);
    alternatives.push((info) => tests.every((test) => test(info)));
  }
  if (alternatives.length === 0) return ok(() => true);
  return ok((info) => alternatives.some((alternative) => alternative(info)));
}

/**
 * Recognises `labels."containerd.io/snapshot.ref"==REF,parent==PARENT`, in either order and
 * alone, so that List can use an index: containerd asks it for each layer of each pull.
 *
 * Shape    null for any other filter, and for an empty ref, which no snapshot has
 * Source   createSnapshot, core/metadata/snapshot.go
 */
export function asTargetQuery(filters: readonly string[]): { ref: string; parent: string } | null {
  const [filter, ...others] = filters;
  if (filter === undefined || others.length > 0 || filter.length > FILTERS_LENGTH_MAX) return null;
  const selectors = parseSelectors(filter);
  if (!selectors.ok || selectors.value.length !== 2) return null;
  let ref: Text = null;
  let parent: Text = null;
  for (const selector of selectors.value) {
    if (selector.operator !== '==') return null;
    if (selector.field.of === 'parent') parent = selector.value;
    if (selector.field.of === 'label' && selector.field.key === TARGET_LABEL) ref = selector.value;
  }
  return ref === null || ref === '' || parent === null ? null : { ref, parent };
}

function tooLong(
  filter: string,
  what: string,
  lengthMax: number,
): { readonly ok: false; readonly refusal: Refusal } {
  const why = `the ${what} of one request may have ${lengthMax} characters together`;
  return refuse(refusals.invalidFilter(filter, why));
}

/** A mistake with its place in bytes, as containerd's own messages count. */
function located(filter: string, { refusal }: { readonly refusal: Mistake }): string {
  const offset = Buffer.byteLength(filter.slice(0, refusal.index));
  return `${refusal.why} (at byte ${offset})`;
}

function patternsLengthOf(selectors: readonly Selector[]): number {
  return selectors
    .map((selector) => {
      if (selector.operator !== '~=' || selector.value === null) return 0;
      return Math.max(selector.value.length, patternSize(selector.value));
    })
    .reduce((sum, length) => sum + length, 0);
}

// ---------------------------------------------------------------------------- grammar

const UNQUOTED_PART = /[A-Za-z0-9_]+/y;
// Upstream takes any run of these as one operator: `==!` is unknown, not `==` and `!`.
const OPERATOR = /[=!~]+/y;
// Upstream looks at the class of a value's characters only from the second one on. Which characters
// have a class grows with Unicode's version, here Node's, there Go's: the newest may differ.
const UNQUOTED_VALUE =
  /[^\p{White_Space}.,=!~"/|\0\uFFFD\p{Cs}](?:(?![,\uFFFD])[\p{L}\p{M}\p{N}\p{P}\p{S}])*/uy;

/** One filter: an empty conjunction, which is true, for an empty string. */
function parseSelectors(filter: string): Result<readonly Selector[], Mistake> {
  const selectors: Selector[] = [];
  if (filter === '') return ok(selectors);
  const cursor = new Cursor(filter);
  for (;;) {
    const selector = takeSelector(cursor);
    if (!selector.ok) return selector;
    selectors.push(selector.value);
    if (cursor.peek() === '') return ok(selectors);
    if (cursor.peek() !== ',') {
      return cursor.mistake(
        `expected a comma or the end after a value, found ${cursor.found()}; ` +
          'put a value with such a character in double quotes',
      );
    }
    cursor.index += 1;
  }
}

function takeSelector(cursor: Cursor): Result<Selector, Mistake> {
  const path = takePath(cursor);
  if (!path.ok) return path;
  const field = fieldOf(path.value);
  // White space is not skipped here: `name ` is a field that waits for its operator.
  if (cursor.peek() === '' || cursor.peek() === ',') return ok({ operator: 'present', field });
  const operator = takeOperator(cursor);
  if (!operator.ok) return operator;
  const value = takeValue(cursor, operator.value);
  return value.ok ? ok({ operator: operator.value, field, value: value.value }) : value;
}

function takePath(cursor: Cursor): Result<readonly Text[], Mistake> {
  const parts: Text[] = [];
  for (;;) {
    cursor.skipWhiteSpace();
    if (cursor.peek() === '"') {
      const quoted = takeQuoted(cursor);
      if (!quoted.ok) return quoted;
      parts.push(quoted.value);
    } else {
      const part = cursor.take(UNQUOTED_PART);
      if (part === undefined) {
        return cursor.mistake(`expected a field name, found ${cursor.found()}`);
      }
      parts.push(part);
    }
    if (cursor.peek() !== '.') return ok(parts);
    cursor.index += 1;
  }
}

function takeOperator(cursor: Cursor): Result<Comparison, Mistake> {
  cursor.skipWhiteSpace();
  const start = cursor.index;
  const operator = cursor.take(OPERATOR);
  if (operator === '==' || operator === '!=' || operator === '~=') return ok(operator);
  if (operator === undefined) {
    return cursor.mistake(`expected ==, != or ~= after a field, found ${cursor.found()}`);
  }
  const shown = operator.length > 8 ? `${operator.slice(0, 8)}…` : operator;
  return refuse({ index: start, why: `${shown} is not an operator; there are ==, != and ~=` });
}

function takeValue(cursor: Cursor, operator: Comparison): Result<Text, Mistake> {
  cursor.skipWhiteSpace();
  const first = cursor.peek();
  if (first === '"') return takeQuoted(cursor);
  if (first === '/' || first === '|') {
    if (operator === '~=') return takeQuoted(cursor);
    return cursor.mistake(
      `${first} opens a regular expression, which only ~= takes; put the value in double quotes`,
    );
  }
  const value = cursor.take(UNQUOTED_VALUE);
  if (value !== undefined) return ok(value);
  return cursor.mistake(
    `expected a value, found ${cursor.found()}; put a value that begins so in double quotes`,
  );
}

// ---------------------------------------------------------------------------- meaning

/** Only `labels` looks at more than its first part: `name.x` is `name` upstream too. */
function fieldOf([first, ...rest]: readonly Text[]): Field {
  if (first === 'kind' || first === 'name' || first === 'parent') return { of: first };
  if (first !== 'labels') return { of: 'unknown' };
  return { of: 'label', key: rest.includes(null) ? null : rest.join('.') };
}

/** The field's text; undefined when the snapshot has no such field. */
function read(field: Field, info: Filterable): string | undefined {
  switch (field.of) {
    case 'kind':
    case 'name':
    case 'parent':
      return info[field.of];
    case 'label':
      return field.key === null ? undefined : info.labels.get(field.key);
    case 'unknown':
      return undefined;
    default:
      return assertNever(field);
  }
}

function testOf(selector: Selector): Filter {
  const { field } = selector;
  switch (selector.operator) {
    case 'present':
      return (info) => read(field, info) !== undefined;
    case '==':
      return (info) => read(field, info) === selector.value;
    // An absent field is compared as an empty text, so `labels.a!=""` means "has a value".
    case '!=':
      return (info) => (read(field, info) ?? '') !== selector.value;
    case '~=': {
      const pattern = compile(selector.value);
      return (info) => pattern?.test(read(field, info) ?? '') ?? false;
    }
    default:
      return assertNever(selector);
  }
}

/**
 * Go's RE2 syntax; undefined for a pattern that does not compile. Unlike Go, re2js calls two groups
 * of one name a mistake, and like Go from 1.22 on it knows `(?<name>…)`.
 */
function compile(pattern: Text): RE2JS | undefined {
  if (pattern === null) return undefined;
  try {
    return RE2JS.compile(pattern);
  } catch (badPattern) {
    if (badPattern instanceof RE2JSException) return undefined;
    throw badPattern;
  }
}
