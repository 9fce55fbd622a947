/**
 * The built command as one script, and the code that V8 made of it when it was built: reading and
 * compiling is most of what a short command takes. Node 22 can keep such code by itself; Node 20,
 * the oldest that is supported, cannot.
 *
 * V8 refuses code of another release or of other flags; the script is compiled as ever then.
 */
import { readFileSync } from 'node:fs';
import { createRequire, Module } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

/** What src/cli/main.ts exports, once `scripts/bundle.ts` has put it into one file. */
export interface Program {
  main(argv: readonly string[]): Promise<void>;
}

export const codePath = (directory: string): string => join(directory, 'program.code');
const programPath = (directory: string): string => join(directory, 'program.cjs');

/** @param code what `createCachedData` of such a script gave; null to compile anew */
export function compileProgram(directory: string, code: Buffer | null): Script {
  const filename = programPath(directory);
  // Node's own bundler writes ASCII alone.
  const source = readFileSync(filename, 'latin1');
  const kept = code === null ? {} : { cachedData: code };
  return new Script(Module.wrap(source), { filename, ...kept });
}

export function runProgram(directory: string, script: Script): Program {
  const own: { exports: unknown } = { exports: {} };
  const filename = programPath(directory);
  const wrapped = script.runInThisContext() as (...given: readonly unknown[]) => void;
  wrapped(own.exports, createRequire(filename), own, filename, directory);
  return own.exports as Program;
}
