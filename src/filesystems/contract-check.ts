/**
 * Whether a value keeps the shape of the FileSystem contract. Types end where a caller's code is
 * not compiled with ours: a member that is missing would make every remote Prepare fall back to a
 * pull, without a word.
 */
import type { FileSystem } from './contract.js';

const methods = ['mount', 'check', 'unmount'] as const satisfies readonly (keyof FileSystem)[];

/** What is wrong with it; null when nothing is. Members may be inherited, as those of a class are. */
export function whyNoFileSystem(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) {
    return `expected a FileSystem (name, ${methods.join(', ')}), and it is ${nameOfType(value)}`;
  }
  const wrong = [
    ...(isName(member(value, 'name')) ? [] : ['name must be a text that is not empty']),
    ...methods
      .filter((method) => typeof member(value, method) !== 'function')
      .map((method) => `${method} must be a function`),
  ];
  return wrong.length === 0 ? null : `it is no FileSystem: ${wrong.join(', ')}`;
}

/** It is written to the log and printed in messages. */
const isName = (name: unknown): boolean =>
  typeof name === 'string' &&
  /^[^\p{C}\p{Z}]+( [^\p{C}\p{Z}]+)*$/u.test(name) &&
  name.length <= 128;

const member = (value: object, name: string): unknown => Reflect.get(value, name);

/** A value in a message: what it is, and not what is in it. */
export function nameOfType(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return value === '' ? 'an empty text' : 'a text';
  if (typeof value !== 'object') return `a ${typeof value}`;
  const [, kind = 'Object'] =
    /^\[object (\w+)\]$/.exec(Object.prototype.toString.call(value)) ?? [];
  return kind === 'Object' ? 'an object' : `an object of the kind ${kind}`;
}
