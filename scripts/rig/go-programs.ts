/**
 * The Go programs of the tests, built from Debian's packages (GOPATH mode: no module is fetched).
 * A build takes half a minute, so its result is kept in .cache, named by a hash of its sources.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.js';
import { repository } from './daemon.js';

const goPath = '/usr/share/gocode';

const builds = new Map<string, Promise<string>>();

/** `program` has a main; `tests` is a folder of _test.go files, built as a test binary. */
export function buildGo(kind: 'program' | 'tests', folder: string): Promise<string> {
  const pending = builds.get(folder) ?? build(kind, folder);
  builds.set(folder, pending);
  return pending;
}

async function build(kind: 'program' | 'tests', folder: string): Promise<string> {
  const source = join(repository, folder);
  const { stdout: toolchain } = await run('go', ['version']);
  const hash = createHash('sha256').update(`${kind} 2`).update(toolchain);
  for (const name of (await readdir(source)).filter((file) => file.endsWith('.go')).sort()) {
    hash.update(name).update(await readFile(join(source, name)));
  }
  const cache = join(repository, '.cache', 'go');
  const binary = join(cache, `${folder.replaceAll('/', '-')}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(binary)) return binary;

  await mkdir(cache, { recursive: true });
  // Two processes may build the same program at once: each its own file, the last rename wins.
  const unfinished = `${binary}.${process.pid}`;
  try {
    await run('go', [...(kind === 'program' ? ['build'] : ['test', '-c']), '-o', unfinished, '.'], {
      cwd: source,
      timeoutMillis: 300_000,
      env: {
        GO111MODULE: 'off',
        GOPATH: goPath,
        GOFLAGS: '',
        GOCACHE: join(repository, '.cache', 'go-build'),
      },
    });
    await rename(unfinished, binary);
  } finally {
    await rm(unfinished, { force: true });
  }
  return binary;
}
