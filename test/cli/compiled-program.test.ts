/**
 * Goal: the built command starts with the code that V8 kept of it, and starts all the same where
 * that code is missing, of another V8, or no code at all. Method: the real build, by way of links
 * in directories of their own.
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

/** A build as it is installed, with other code, or with none. */
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

/** What the command says of itself. */
function versionBy(directory: string): string {
  const asked = spawnSync(process.execPath, [join(directory, 'stratalog.cjs'), '--version']);
  return `${asked.stdout.toString()}${asked.stderr.toString()}`;
}

describe('the built command', () => {
  const kept = (): Buffer => readFileSync(codePath(bin));
  /** The release that made it is its first line; two sums follow. */
  const sumsAt = (): number => kept().indexOf('\n') + 1;
  const code = (): Buffer => kept().subarray(sumsAt() + 8);

  /** The same script, and code whose first words, which say what V8 made it, may be others. */
  function summed(other: Buffer): Buffer {
    const sums = Buffer.from(kept().subarray(0, sumsAt() + 8));
    sums.writeUInt32LE(crc32(other), sumsAt() + 4);
    return Buffer.concat([sums, other]);
  }

  it('has code that this V8 takes', () => {
    expect(compileProgram(bin, kept()).cachedDataRejected).toBe(false);
  });

  it.each([
    ['without any', () => null],
    ['with none in it', () => Buffer.alloc(0)],
    ['with what is no code', () => Buffer.from('no code'.repeat(100))],
    ['of another V8', () => summed(Buffer.concat([Buffer.alloc(16, 0xff), code().subarray(16)]))],
    ['of another script', () => kept().fill(0, sumsAt(), sumsAt() + 4)],
    // The same V8 by its name, and other code: it would crash.
    [
      'of another release of Node.js',
      () => Buffer.concat([Buffer.from('v20.19.0'), kept().subarray(process.version.length)]),
    ],
    ['that was cut short', () => kept().subarray(0, 4096)],
    ['that a power cut left half empty', () => kept().fill(0, 100_000)],
    ['with one bit wrong', () => kept().fill((kept()[500_000] ?? 0) ^ 4, 500_000, 500_001)],
  ])('starts %s', async (_what, bad) => {
    const directory = await installedWith(bad());
    // Undefined where V8 was not even given it.
    expect(compileProgram(directory, bad()).cachedDataRejected).not.toBe(false);
    expect(versionBy(directory)).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
