/**
 * Puts the command into few files, `dist/bin/`: reading some four hundred modules one by one is
 * more than half of what a short command takes. Part of `npm run build`, behind the compiler,
 * whose output stays what the library and its types are.
 *
 * The command is one script, with the code that V8 makes of it beside it. The programs of worker
 * threads are scripts of their own.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import { codePath, moduleWrapper } from '../src/cli/launch/compiled-program.js';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const bin = join(dist, 'bin');

const shared = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  // Native modules find their binaries beside themselves.
  external: ['koffi', 'fs-ext'],
  // The CommonJS form of rxjs, which Node.js would take, is bundled whole.
  alias: {
    rxjs: fileURLToPath(new URL('../node_modules/rxjs/dist/esm/index.js', import.meta.url)),
  },
  logLevel: 'warning',
  metafile: true,
} as const satisfies BuildOptions;

const fileUrl = "const fileUrl = require('node:url').pathToFileURL(__filename).href;";
const script = {
  ...shared,
  format: 'cjs',
  // Only `require` reaches the modules outside; a script has no loader for `import()`.
  supported: { 'dynamic-import': false },
  // They are read as latin1, which is fastest.
  charset: 'ascii',
  banner: { js: fileUrl },
  define: { 'import.meta.url': 'fileUrl' },
} as const satisfies BuildOptions;

// What an earlier build has put into `bin` is no source of this one.
const threads = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter(
  (path) => !path.startsWith('bin/') && /(^|-)(worker-main|jobs)\.js$/.test(basename(path)),
);
const isMain = (path: string): boolean => basename(path) === 'worker-main.js';
const programs = {
  ...script,
  // Found by name in the directory of the command (src/host/threads/thread-programs.ts).
  entryNames: '[name]',
  outExtension: { '.js': '.cjs' },
  outdir: bin,
} as const satisfies BuildOptions;
// Each is one file, so that it can be kept in memory: what two of them need is in both.
const jobs = await build({
  ...programs,
  entryPoints: threads.filter((path) => !isMain(path)).map((path) => join(dist, path)),
  banner: { js: `${moduleWrapper[0]}${fileUrl}` },
  footer: { js: moduleWrapper[1] },
});
// A thread begins with this one, as the text of a script: it has no file name.
const main = await build({
  ...programs,
  entryPoints: threads.filter(isMain).map((path) => join(dist, path)),
  banner: { js: '' },
  define: {},
});

// Code of another program must never stand beside this one.
rmSync(codePath(bin), { force: true });
const program = await build({
  ...script,
  entryPoints: [join(dist, 'cli', 'main.js')],
  outfile: join(bin, 'program.cjs'),
  // The function that a loader would wrap it in: to do that to three megabytes takes time.
  banner: { js: `${moduleWrapper[0]}${fileUrl}` },
  footer: { js: moduleWrapper[1] },
});
const launcher = await build({
  ...script,
  entryPoints: [join(dist, 'cli', 'launch', 'stratalog.js')],
  outfile: join(bin, 'stratalog.cjs'),
});

// What an earlier build left. Not before: a command that runs meanwhile finds what it asks for.
const made = new Set(
  [jobs, main, program, launcher]
    .flatMap(({ metafile }) => Object.keys(metafile.outputs))
    .map((path) => basename(path)),
);
for (const name of readdirSync(bin)) if (!made.has(name)) rmSync(join(bin, name));

// In a process of its own: V8 keeps what it compiled, and here that would be this script.
const compiler = fileURLToPath(new URL('compile-program.ts', import.meta.url));
const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', compiler], {
  stdio: ['ignore', 'ignore', 'pipe'],
});
if (status !== 0) throw new Error(`the command was not compiled:\n${stderr.toString()}`);
