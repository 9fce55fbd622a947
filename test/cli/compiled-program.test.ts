/**
 * Goal: the built command starts with its V8 code cache, and also starts when the cache is missing,
 * made by another V8, or invalid. Method: the real build, copied into directories of its own.
 */
import { spawnSync } from 'node:child_process';
import { crc32 } from 'node:zlib';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { repository } from '../../scripts/rig/daemon.js';
import { codePath, compileProgram } from '../../src/cli/launch/compiled-program.js';
import { aDirectory, buildLimitMillis, builtCli, cleanUp } from './rig.js';

const bin = join(repository, 'dist', 'bin');

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

/** An installation of the build with the given code cache, or without one. */
async function installedWith(code: Buffer | null): Promise<string> {
  const directory = join(await aDirectory(), 'dist', 'bin');
  mkdirSync(directory, { recursive: true });
  for (const name of ['node_modules', 'package.json']) {
    symlinkSync(join(repository, name), join(directory, '..', '..', name));
  }
  for (const name of readdirSync(bin)) {
    writeFileSync(join(directory, name), readFileSync(join(bin, name)));
  }
  if (code === null) rmSync(codePath(directory));
  else writeFileSync(codePath(directory), code);
  return directory;
}

/** The output of `--version`. */
function versionBy(directory: string): string {
  const ended = spawnSync(process.execPath, [join(directory, 'stratalog.cjs'), '--version']);
  return `${ended.stdout.toString()}${ended.stderr.toString()}`;
}

describe('the built command', () => {
  const cache = (): Buffer => readFileSync(codePath(bin));
  /** The first line is the release of Node.js; two checksums follow. */
  const sumsAt = (): number => cache().indexOf('\n') + 1;
  const code = (): Buffer => cache().subarray(sumsAt() + 8);

  /** A cache with other code and a correct checksum of it. */
  function summed(other: Buffer): Buffer {
    const sums = Buffer.from(cache().subarray(0, sumsAt() + 8));
    sums.writeUInt32LE(crc32(other), sumsAt() + 4);
    return Buffer.concat([sums, other]);
  }

  it('has a cache that this V8 accepts', () => {
    expect(compileProgram(bin, cache()).cachedDataRejected).toBe(false);
  });

  it.each([
    ['without a cache', () => null],
    ['with an empty cache', () => Buffer.alloc(0)],
    ['with a cache that is not code', () => Buffer.from('no code'.repeat(100))],
    [
      'with a cache of another V8',
      () => summed(Buffer.concat([Buffer.alloc(16, 0xff), code().subarray(16)])),
    ],
    ['with a cache of another script', () => cache().fill(0, sumsAt(), sumsAt() + 4)],
    // V8 reports the same version, but would crash on this code.
    [
      'with a cache of another release of Node.js',
      () => Buffer.concat([Buffer.from('v20.19.0'), cache().subarray(process.version.length)]),
    ],
    ['with a truncated cache', () => cache().subarray(0, 4096)],
    ['with a cache that a power cut zeroed in part', () => cache().fill(0, 100_000)],
    [
      'with a flipped bit in the cache',
      () => cache().fill((cache()[500_000] ?? 0) ^ 4, 500_000, 500_001),
    ],
  ])('starts %s', async (_what, bad) => {
    const directory = await installedWith(bad());
    // Undefined if the cache was not passed to V8.
    expect(compileProgram(directory, bad()).cachedDataRejected).not.toBe(false);
    expect(versionBy(directory)).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
