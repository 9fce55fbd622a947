/**
 * The built command as one script, with the V8 code cache that was made at build time: reading and
 * compiling takes most of the run time of a short command. Node 22 has a compile cache of its own;
 * Node 20, the oldest supported release, does not.
 *
 * V8 rejects a cache made with other flags, and the script is then compiled as usual. V8 checks
 * little else: a cache from another build of the same V8 version crashes it, it compares only the
 * length of the script, and it does not verify the cached code. The file therefore starts with the
 * Node.js release that made it and has checksums of script and code, so that the remains of an
 * interrupted upgrade or a power cut never run.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { crc32 } from 'node:zlib';

/** The exports of src/cli/main.ts after `scripts/bundle.ts` has bundled it. */
export interface Program {
  main(argv: readonly string[]): Promise<void>;
}

export const codePath = (directory: string): string => join(directory, 'program.code');
/** Wraps the script in its file; `runProgram` calls the function. */
export const moduleWrapper = [
  '(function (exports, require, module, __filename, __dirname) {',
  '})',
] as const;
const programPath = (directory: string): string => join(directory, 'program.cjs');

/** Identifies the build of V8; each release of Node.js has its own. */
const builder = Buffer.from(
  `${process.version} ${process.arch} ${process.versions.v8} ${process.versions.modules}\n`,
);
/** CRC-32 of the script, then of the code that follows. */
const SUMS_BYTES = 8;

/** @param cache the result of `codeCacheOf`; null to compile without a cache */
export function compileProgram(directory: string, cache: Buffer | null): Script {
  const filename = programPath(directory);
  const source = readFileSync(filename);
  // Only comments have non-ASCII characters; scripts/bundle.ts ensures it.
  const code = cache === null ? null : codeIn(cache, source);
  return new Script(source.toString('latin1'), {
    filename,
    ...(code === null ? {} : { cachedData: code }),
  });
}

/** The cache file for `compileProgram`, from a script that has run. */
export function codeCacheOf(directory: string, script: Script): Buffer {
  const code = script.createCachedData();
  const sums = Buffer.alloc(SUMS_BYTES);
  sums.writeUInt32LE(crc32(readFileSync(programPath(directory))), 0);
  sums.writeUInt32LE(crc32(code), 4);
  return Buffer.concat([builder, sums, code]);
}

function codeIn(cache: Buffer, source: Buffer): Buffer | null {
  const isSameBuild = cache.subarray(0, builder.length).equals(builder);
  if (!isSameBuild || cache.length < builder.length + SUMS_BYTES) return null;
  const sums = cache.subarray(builder.length);
  const code = sums.subarray(SUMS_BYTES);
  const isIntact = sums.readUInt32LE(0) === crc32(source) && sums.readUInt32LE(4) === crc32(code);
  return isIntact ? code : null;
}

export function runProgram(directory: string, script: Script): Program {
  const module: { exports: unknown } = { exports: {} };
  const filename = programPath(directory);
  const wrapper = script.runInThisContext() as (...args: readonly unknown[]) => void;
  wrapper(module.exports, createRequire(filename), module, filename, directory);
  return module.exports as Program;
}
