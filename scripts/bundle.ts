/**
 * Puts the command into few files, `dist/bin/`: reading some four hundred modules one by one is
 * more than half of what a short command takes. Part of `npm run build`, behind the compiler,
 * whose output stays what the library and its types are.
 *
 * The programs of worker threads are entries of their own, beside the chunks that name them.
 */
import { readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const bin = join(dist, 'bin');

const isEntry = (path: string): boolean =>
  path === 'cli.js' || /(^|-)(worker-main|jobs)\.js$/.test(basename(path));
// What an earlier build has put into `bin` is no source of this one.
const entries = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter(
  (path) => !path.startsWith('bin/') && isEntry(path),
);

const { metafile } = await build({
  entryPoints: entries.map((path) => join(dist, path)),
  // Threads find their programs by name in the directory of whoever starts them.
  entryNames: '[name]',
  outdir: bin,
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  // Native modules find their binaries beside themselves.
  external: ['koffi', 'fs-ext'],
  // What is CommonJS in it asks for Node's own modules by `require`.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  logLevel: 'warning',
  metafile: true,
});

// What an earlier build left. Not before: a command that runs meanwhile finds what it asks for.
const made = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
for (const name of readdirSync(bin)) if (!made.has(name)) rmSync(join(bin, name));
