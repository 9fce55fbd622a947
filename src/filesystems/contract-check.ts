/**
 * Validates a FileSystem at run time, because a caller may not use our types: a missing member
 * would make every remote Prepare silently fall back to a pull.
 */
import type { FileSystem } from './contract.js';

const methods = ['mount', 'check', 'unmount'] as const satisfies readonly (keyof FileSystem)[];

/** Null if the value is a FileSystem. Accepts inherited members. */
export function whyNoFileSystem(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) {
    return `expected a FileSystem (name, ${methods.join(', ')}), got ${nameOfType(value)}`;
  }
  const wrong = [
    ...(isName(member(value, 'name'))
      ? []
      : ['name must be a printable string of 1 to 128 characters']),
    ...methods
      .filter((method) => typeof member(value, method) !== 'function')
      .map((method) => `${method} must be a function`),
  ];
  return wrong.length === 0 ? null : `not a FileSystem: ${wrong.join(', ')}`;
}

/** Restricted because the name is written to the log and printed in messages. */
const isName = (name: unknown): boolean =>
  typeof name === 'string' &&
  /^[^\p{C}\p{Z}]+( [^\p{C}\p{Z}]+)*$/u.test(name) &&
  name.length <= 128;

const member = (value: object, name: string): unknown => Reflect.get(value, name);

/** Describes a value by its type, without its content. */
export function nameOfType(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return value === '' ? 'an empty string' : 'a string';
  if (typeof value !== 'object') return `a ${typeof value}`;
  const [, kind = 'Object'] =
    /^\[object (\w+)\]$/.exec(Object.prototype.toString.call(value)) ?? [];
  return kind === 'Object' ? 'an object' : `an instance of ${kind}`;
}
