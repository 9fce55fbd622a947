/**
 * The code of worker threads. In the installed command it is text, kept in memory: a daemon starts
 * threads for as long as it runs, and by then an upgrade may have replaced the files with those of
 * another release, or removed them. Elsewhere (the library, tests) Node.js loads modules by URL.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { guarded } from '../faults.js';

/** Text shared by all threads, so that none has a copy until it runs the program. */
export type ProgramText = SharedArrayBuffer;

// scripts/bundle.ts makes CommonJS of the command and of the programs of its threads.
const isBundled = import.meta.url.endsWith('.cjs');
const suffix = '.cjs';

const texts = new Map<string, ProgramText>();

/**
 * The program of a module, by the module's URL; null if Node.js has to load it by that URL.
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

/** Reads all programs now. From then on, no thread reads a file of this installation. */
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
