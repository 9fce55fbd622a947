/**
 * Validates the arguments of library calls, because a caller may not use our types. An error names
 * the call, the argument and the expected type.
 */
import * as z from 'zod';
import { UsageError } from '../base/errors.js';
import { isUtf8 } from '../base/paths.js';
import { nameOfType, whyNoFileSystem } from '../filesystems/contract-check.js';

const expected = (what: string) => ({
  error: ({ input }: { readonly input?: unknown }) => `expected ${what}, got ${nameOfType(input)}`,
});

const booleanValue = z.boolean(expected('true or false'));
const functionValue = z.custom((value) => typeof value === 'function', expected('a function'));
const abortSignal = z.instanceof(AbortSignal, expected('an AbortSignal'));

const text = z
  .string(expected('a string'))
  // A lone surrogate has no UTF-8 encoding.
  .refine((value) => !/\p{Surrogate}/u.test(value), 'contains a lone surrogate');

const root = z.string(expected('the absolute path of a directory')).superRefine((path, context) => {
  if (!path.startsWith('/')) {
    context.addIssue(`expected an absolute path, got ${path === '' ? nameOfType(path) : path}`);
  } else if (path.includes('\0') || !isUtf8(path)) {
    context.addIssue('a path must be valid UTF-8 without NUL bytes');
  }
});

const fileSystem = z.unknown().superRefine((value, context) => {
  if (value === null) return;
  const why = whyNoFileSystem(value);
  if (why !== null) context.addIssue(value === undefined ? `${why}; use null for none` : why);
});

/** A Map or a plain object with string keys and values. */
const labels = z.unknown().superRefine((value, context) => {
  if (!(value instanceof Map) && !isPlainObject(value)) {
    context.addIssue(`expected a Map or an object of strings, got ${nameOfType(value)}`);
    return;
  }
  const entries: Iterable<readonly [unknown, unknown]> =
    value instanceof Map ? value : Object.entries(value);
  for (const entry of entries) {
    const [key, label] = entry.map((part) => text.safeParse(part).error?.issues[0]?.message);
    const at = typeof entry[0] === 'string' ? JSON.stringify(entry[0]) : nameOfType(entry[0]);
    if (key !== undefined) context.addIssue(`key ${at}: ${key}`);
    if (label !== undefined) context.addIssue(`${at}: ${label}`);
  }
});

/** Excludes arrays, Maps and signals. */
function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** A plain object with exactly these members. */
function objectOf(shape: z.core.$ZodLooseShape): z.ZodType {
  const names = Object.keys(shape).join(', ');
  const unknownMember = ({ code, keys }: { readonly code?: string; readonly keys?: unknown }) =>
    code === 'unrecognized_keys' && Array.isArray(keys)
      ? `unknown option ${keys.join(', ')}; valid options: ${names}`
      : undefined;
  return z
    .custom(isPlainObject, expected(`an object with ${names}`))
    .pipe(z.strictObject(shape, { error: unknownMember }));
}

export const argument = {
  text,
  visitor: functionValue,
  /** Options of newSnapshotter. */
  opening: objectOf({
    root,
    fileSystem,
    asynchronousRemove: booleanValue.optional(),
    durability: z.enum(['data', 'metadata'], expected('"data" or "metadata"')).optional(),
    onWarning: functionValue.optional(),
    onFatal: functionValue.optional(),
  }),
  /** Options of a call that creates a snapshot. */
  making: objectOf({ labels: labels.optional(), signal: abortSignal.optional() }),
  /** Options of a call that can be aborted. */
  waiting: objectOf({ signal: abortSignal.optional() }),
  change: objectOf({ name: text, labels }),
} as const;

/**
 * Checks the arguments of one call.
 *
 * @param given each argument by its name
 * @throws UsageError that names the call and lists every mistake
 */
export function checkArguments(
  call: string,
  given: Readonly<Record<string, readonly [value: unknown, schema: z.ZodType]>>,
): void {
  const wrong = Object.entries(given).flatMap(([name, [value, schema]]) => {
    const { error } = schema.safeParse(value);
    return (error?.issues ?? []).map(
      ({ path, message }) => `${[name, ...path].join('.')}: ${message}`,
    );
  });
  if (wrong.length > 0) throw new UsageError(`${call}: ${wrong.join('; ')}`);
}
