/**
 * Lets V8 compile the command, and keeps the code beside it: the last part of `npm run build`. A
 * function is in it when it ran before, so the command is asked what people ask most, of a log
 * that is at hand. The rest is compiled when it is needed, as ever.
 *
 * What they print is of no interest: `scripts/bundle.ts` shows it only when this fails.
 */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { systemDisk } from '../src/host/files/disk.js';
import { snapshotTexts } from '../src/inspect/archive/indexed-texts.js';
import { withFile } from '../src/log/files.js';
import { makeIndex, writeIndex } from '../src/log/index/index-files.js';
import { IndexedLog } from '../src/log/index/indexed-log.js';
import {
  codePath,
  compileProgram,
  codeCacheOf,
  runProgram,
  type Program,
} from '../src/cli/launch/compiled-program.js';

const bin = fileURLToPath(new URL('../dist/bin', import.meta.url));
const sample = fileURLToPath(new URL('../test/golden/v0.1.0/root', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'stratalog-sample-'));
process.on('exit', () => {
  rmSync(root, { recursive: true, force: true });
});

/** The sample log as a daemon leaves it: each full segment with its index. */
async function copySample(): Promise<void> {
  cpSync(sample, root, { recursive: true });
  const disk = systemDisk();
  const segments = await new IndexedLog({ disk, root }).segments();
  for (const [at, next] of segments.slice(1).entries()) {
    const segment = segments[at];
    if (segment === undefined) continue;
    const index = await withFile(disk, segment.path, 'read', (file) =>
      makeIndex(file, segment, next, { texts: snapshotTexts }),
    );
    if (index !== null) await writeIndex(disk, root, segment.header.firstPosition, index);
  }
}

/** Each with the exit code that it must have. */
const questions = new Map<readonly string[], number>([[['--help'], 0]]);
for (const words of [
  ...['log', 'state', 'state tree', 'state --at 20', 'diff 0 5', 'machine 1', 'who 1', 'why 1'],
  ...['history 1', 'history k8s.io/3/sha256:two', 'history 6', 'verify', 'layers'],
]) {
  questions.set([...words.split(' '), '--root', root], 0);
}
// It finds that the directories of the log are not there.
questions.set(['inspect', '--offline', '--root', root], 3);

const serveLimitMillis = 60_000;

/**
 * A daemon from its startup to its shutdown, in this process. Where this user may not mount an
 * overlay the startup is refused; then the code that ran until there is kept.
 */
async function serveOnce(program: Program): Promise<void> {
  const address = join(root, 'daemon.sock');
  const flags = [
    '--config',
    '/dev/null',
    '--root',
    root,
    '--address',
    address,
    '--accept-moved-root',
  ];
  const exit = process.exit.bind(process);
  process.exit = (() => undefined) as unknown as typeof exit;
  const serving = program.main(['node', 'stratalog', 'serve', ...flags]);
  if (await isServedBefore(serving, program, address)) process.kill(process.pid, 'SIGTERM');
  await serving;
  process.exit = exit;
}

const hasSucceeded = (): boolean => process.exitCode === 0;

/** False when the daemon has ended without having served. */
async function isServedBefore(
  end: Promise<unknown>,
  program: Program,
  address: string,
): Promise<boolean> {
  const ended = end.then(() => true);
  const deadline = performance.now() + serveLimitMillis;
  for (;;) {
    process.exitCode = 0;
    await program.main(['node', 'stratalog', 'health', '--address', address]);
    if (hasSucceeded()) return true;
    if (await Promise.race([ended, sleep(20, false)])) return false;
    if (performance.now() > deadline) throw new Error('the daemon neither serves nor ends');
  }
}

await copySample();
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
await serveOnce(program);
process.exitCode = 0;
writeFileSync(codePath(bin), codeCacheOf(bin, script));
