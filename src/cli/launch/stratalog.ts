#!/usr/bin/env node
/** The installed command `stratalog`. src/cli.ts runs it from source, without a build. */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codePath, compileProgram, runProgram } from './compiled-program.js';

const directory = dirname(fileURLToPath(import.meta.url));

function readCode(): Buffer | null {
  try {
    return readFileSync(codePath(directory));
  } catch {
    // The cache only saves time.
    return null;
  }
}

void runProgram(directory, compileProgram(directory, readCode())).main(process.argv);
