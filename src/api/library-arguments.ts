/**
 * What callers of the library hand over, checked before anything is done with it: a caller may not
 * be compiled with our types. A mistake names the call, the argument and what was expected.
 */
import * as z from 'zod';
import { UsageError } from '../base/errors.js';
import { isUtf8 } from '../base/paths.js';
import { nameOfType, whyNoFileSystem } from '../filesystems/contract-check.js';

const expected = (what: string) => ({
  error: ({ input }: { readonly input?: unknown }) =>
    `expected ${what}, and it is ${nameOfType(input)}`,
});

const booleanValue = z.boolean(expected('true or false'));
const functionValue = z.custom((value) => typeof value === 'function', expected('a function'));
const abortSignal = z.instanceof(AbortSignal, expected('an AbortSignal'));

const text = z
  .string(expected('a text'))
  // It could not be sent to a client, nor written as UTF-8 and read again.
  .refine((value) => !/\p{Surrogate}/u.test(value), 'half a character (a lone surrogate) is in it');

const root = z.string(expected('the absolute path of a directory')).superRefine((path, context) => {
  if (!path.startsWith('/')) {
    context.addIssue(`it must be absolute, and ${path === '' ? nameOfType(path) : path} is not`);
  } else if (path.includes('\0') || !isUtf8(path)) {
    context.addIssue('a path holds no zero byte, and only valid UTF-8');
  }
});

const fileSystem = z.unknown().superRefine((value, context) => {
  if (value === null) return;
  const why = whyNoFileSystem(value);
  if (why !== null) context.addIssue(value === undefined ? `${why}; null is for none` : why);
});

/** A Map, or a plain object, from texts to texts. */
const labels = z.unknown().superRefine((value, context) => {
  if (!(value instanceof Map) && !isPlainObject(value)) {
    context.addIssue(`expected a Map or an object of texts, and it is ${nameOfType(value)}`);
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

/** An array, a Map or a signal is an object too, and never what was meant. */
function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** A plain object with these members and no others. */
function objectOf(shape: z.core.$ZodLooseShape): z.ZodType {
  const names = Object.keys(shape).join(', ');
  const unknownMember = ({ code, keys }: { readonly code?: string; readonly keys?: unknown }) =>
    code === 'unrecognized_keys' && Array.isArray(keys)
      ? `there is no ${keys.join(', ')}; there are ${names}`
      : undefined;
  return z
    .custom(isPlainObject, expected(`an object with ${names}`))
    .pipe(z.strictObject(shape, { error: unknownMember }));
}

export const argument = {
  text,
  visitor: functionValue,
  /** Of newSnapshotter. */
  opening: objectOf({
    root,
    fileSystem,
    asynchronousRemove: booleanValue.optional(),
    durability: z.enum(['data', 'metadata'], expected('"data" or "metadata"')).optional(),
    onWarning: functionValue.optional(),
    onFatal: functionValue.optional(),
  }),
  /** Of a call that makes something. */
  making: objectOf({ labels: labels.optional(), signal: abortSignal.optional() }),
  /** Of a call that waits. */
  waiting: objectOf({ signal: abortSignal.optional() }),
  change: objectOf({ name: text, labels }),
} as const;

/**
 * The arguments of one call, each by its name.
 *
 * @throws UsageError that names the call and all that is wrong
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
