/**
 * The code of worker threads. The installed command keeps it in memory as text, because a daemon
 * starts threads as long as it runs and an upgrade may replace or remove the files. The library and
 * tests load modules by URL.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { guarded } from '../faults.js';

/** Shared by all threads, so that a thread has no copy until it runs the program. */
export type ProgramText = SharedArrayBuffer;

// scripts/bundle.ts builds the command and its thread programs as CommonJS.
const isBundled = import.meta.url.endsWith('.cjs');
const suffix = '.cjs';

const texts = new Map<string, ProgramText>();

/**
 * The program of a module; null if Node.js loads it by its URL.
 *
 * @throws HostFault if the file cannot be read
 */
export function programText(moduleUrl: string): ProgramText | null {
  if (!isBundled) return null;
  const path = programPath(moduleUrl);
  let text = texts.get(path);
  if (text === undefined) texts.set(path, (text = read(path)));
  return text;
}

/** Reads all programs. After this, no thread reads a file of the installation. */
export function preloadPrograms(): void {
  if (!isBundled) return;
  const directory = dirname(fileURLToPath(import.meta.url));
  for (const name of readdirSync(directory)) {
    if (/^(worker-main|.+-jobs)\.cjs$/.test(name)) programText(join(directory, name));
  }
}

/** `dist/bin/x-jobs.cjs` for the URL of `x-jobs.js` next to it. */
function programPath(moduleUrl: string): string {
  const path = moduleUrl.startsWith('file:') ? fileURLToPath(moduleUrl) : moduleUrl;
  return join(dirname(path), `${basename(path).replace(/\.c?js$/, '')}${suffix}`);
}

function read(path: string): ProgramText {
  const bytes = guarded('read', path, () => readFileSync(path));
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  return shared;
}
