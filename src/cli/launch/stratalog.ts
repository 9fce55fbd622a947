#!/usr/bin/env node
/** The command `stratalog` as it is installed. From its source, without a build, it is cli.ts. */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codePath, compileProgram, runProgram } from './compiled-program.js';

const directory = dirname(fileURLToPath(import.meta.url));

function readCode(): Buffer | null {
  try {
    return readFileSync(codePath(directory));
  } catch {
    // It only saves time.
    return null;
  }
}

void runProgram(directory, compileProgram(directory, readCode())).main(process.argv);
