/**
 * The built command as one script, and the code that V8 made of it when it was built: reading and
 * compiling is most of what a short command takes. Node 22 can keep such code by itself; Node 20,
 * the oldest that is supported, cannot.
 *
 * V8 refuses code of other flags; the script is compiled as ever then. It looks no closer than
 * that: code of another build of the same V8 crashes it, of the script it compares the length alone,
 * and of the code nothing. So the release of Node.js that made it stands before the code, and both
 * are summed: what an upgrade or a power cut left of an installation must not run.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { crc32 } from 'node:zlib';

/** What src/cli/main.ts exports, once `scripts/bundle.ts` has put it into one file. */
export interface Program {
  main(argv: readonly string[]): Promise<void>;
}

export const codePath = (directory: string): string => join(directory, 'program.code');
/** What stands around the script in its file; `runProgram` calls the function. */
export const moduleWrapper = [
  '(function (exports, require, module, __filename, __dirname) {',
  '})',
] as const;
const programPath = (directory: string): string => join(directory, 'program.cjs');

/** Whose code it is; each release of Node.js has its own build of V8. */
const maker = Buffer.from(
  `${process.version} ${process.arch} ${process.versions.v8} ${process.versions.modules}\n`,
);
/** CRC-32 of the script, then of the code behind them. */
const SUMS_BYTES = 8;

/** @param kept what `keptCode` gave; null to compile anew */
export function compileProgram(directory: string, kept: Buffer | null): Script {
  const filename = programPath(directory);
  const source = readFileSync(filename);
  // Beyond ASCII it has letters in comments alone: scripts/bundle.ts sees to it.
  const code = kept === null ? null : codeIn(kept, source);
  return new Script(source.toString('latin1'), {
    filename,
    ...(code === null ? {} : { cachedData: code }),
  });
}

/** The file that `compileProgram` takes, of a script that ran. */
export function keptCode(directory: string, script: Script): Buffer {
  const code = script.createCachedData();
  const sums = Buffer.alloc(SUMS_BYTES);
  sums.writeUInt32LE(crc32(readFileSync(programPath(directory))), 0);
  sums.writeUInt32LE(crc32(code), 4);
  return Buffer.concat([maker, sums, code]);
}

function codeIn(kept: Buffer, source: Buffer): Buffer | null {
  const isOurs = kept.subarray(0, maker.length).equals(maker);
  if (!isOurs || kept.length < maker.length + SUMS_BYTES) return null;
  const sums = kept.subarray(maker.length);
  const code = sums.subarray(SUMS_BYTES);
  const isWhole = sums.readUInt32LE(0) === crc32(source) && sums.readUInt32LE(4) === crc32(code);
  return isWhole ? code : null;
}

export function runProgram(directory: string, script: Script): Program {
  const own: { exports: unknown } = { exports: {} };
  const filename = programPath(directory);
  const wrapped = script.runInThisContext() as (...given: readonly unknown[]) => void;
  wrapped(own.exports, createRequire(filename), own, filename, directory);
  return own.exports as Program;
}
