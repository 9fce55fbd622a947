/**
 * Lets V8 compile the command, and keeps the code beside it: the last part of `npm run build`. A
 * function is in it when it ran before, so the command is asked what people ask most, of a log
 * that is at hand. The rest is compiled when it is needed, as ever.
 *
 * What they print is of no interest: `scripts/bundle.ts` shows it only when this fails.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codePath, compileProgram, keptCode, runProgram } from '../src/launch/compiled-program.js';

const bin = fileURLToPath(new URL('../dist/bin', import.meta.url));
const root = fileURLToPath(new URL('../test/golden/v0.1.0/root', import.meta.url));

/** Each with the exit code that it must have. */
const questions = new Map<readonly string[], number>([[['--help'], 0]]);
for (const words of [
  ...['log', 'state', 'state tree', 'history 1', 'who 1', 'why 1', 'diff 0 5', 'machine 1'],
  ...['verify', 'layers'],
]) {
  questions.set([...words.split(' '), '--root', root], 0);
}
// It finds that the directories of the log are not there.
questions.set(['inspect', '--offline', '--root', root], 3);
// A start that is refused, because its root is a file, loads all the same.
const refused = ['--root', join(root, 'identity.json'), '--address', join(root, 'none.sock')];
questions.set(['serve', '--config', '/dev/null', ...refused], 2);

// What this machine is set up to be has no place in a build.
for (const name of Object.keys(process.env)) {
  if (name.startsWith('STRATALOG_')) Reflect.deleteProperty(process.env, name);
}
const script = compileProgram(bin, null);
const program = runProgram(bin, script);
// One process asks all: each question listens to it once.
process.stdout.setMaxListeners(questions.size + 10);
for (const [words, expected] of questions) {
  process.exitCode = 0;
  await program.main(['node', 'stratalog', ...words]);
  if (process.exitCode !== expected) {
    throw new Error(`stratalog ${words.join(' ')} ended with ${process.exitCode}, not ${expected}`);
  }
}
process.exitCode = 0;
writeFileSync(codePath(bin), keptCode(bin, script));
