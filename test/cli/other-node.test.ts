/**
 * Goal: after an upgrade of Node.js to another release line, the daemon reports what to do, waits, and
 * then serves. Method: an installation with a native module of another release line, which Node.js
 * refuses; it is then replaced by the right one.
 */
import { cpSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { run } from '../../scripts/rig/command.js';
import { repository } from '../../scripts/rig/daemon.js';
import { serves } from '../../scripts/rig/first-answer.js';
import { Service } from '../../scripts/rig/service.js';
import { until } from '../../scripts/rig/wait.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import {
  aDirectory,
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  daemonStarted,
  later,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const moduleVersion = Number(process.versions.modules);
const binary = join('node_modules', 'fs-ext', 'build', 'Release', 'fs_ext.node');

/** An installation with a native module of another release line. Returns its directory. */
async function installation(): Promise<string> {
  const directory = join(await aDirectory(), 'stratalog');
  for (const part of ['package.json', 'dist/bin', 'node_modules/fs-ext']) {
    cpSync(join(repository, part), join(directory, part), { recursive: true });
  }
  const koffi = join('node_modules', 'koffi');
  symlinkSync(join(repository, koffi), join(directory, koffi));
  renameSync(join(directory, binary), join(directory, `${binary}.right`));
  const source = join(directory, 'another-line.c');
  writeFileSync(source, moduleSource(moduleVersion - 1));
  await run('g++', ['-shared', '-fPIC', '-x', 'c', '-o', join(directory, binary), source]);
  return directory;
}

/** The part that Node.js checks before it refuses (node.h, `struct node_module`). */
const moduleSource = (version: number): string => `
  struct node_module {
    int version; unsigned flags; void *handle; const char *file;
    void *init; void *context_init; const char *name; void *data; void *next;
  };
  extern void node_module_register(void *);
  static struct node_module module = { ${version}, 0, 0, "another-line.c", 0, 0, "fs_ext", 0, 0 };
  __attribute__((constructor)) static void begin(void) { node_module_register(&module); }
`;

it('reports what to do, waits, and serves after the rebuild', { timeout: 60_000 }, async () => {
  const directory = await installation();
  const cli = join(directory, 'dist', 'bin', 'stratalog.cjs');
  const advice =
    `cannot load fs-ext with Node.js ${process.version}: it was built for another release ` +
    `(module version ${moduleVersion - 1}, not ${moduleVersion}); ` +
    `run 'npm rebuild fs-ext' in ${directory} (needs python3, make and g++)`;

  // A read-only command does not need the lock module; one that writes fails with the same message.
  const root = await aRoot([daemonStarted()]);
  const command = (name: string) =>
    run(process.execPath, [cli, name, '--root', root], { mayFail: true });
  expect(await command('inspect')).toMatchObject({ exitCode: 0, stderr: '' });
  const writing = await command('checkpoint');
  expect([writing.exitCode, writing.stderr]).toEqual([1, `stratalog: ${advice}\n`]);

  const workspace = await Workspace.create('stratalog-cli-');
  later(() => workspace.close());
  const address = workspace.path('s.sock');
  const args = [cli, 'serve', '--root', root, '--address', address];
  const logFile = workspace.path('daemon.log');
  const daemon = await Service.start(
    workspace,
    { name: 'daemon', program: process.execPath, args, logFile },
    () => Promise.resolve(readFileSync(logFile, 'utf8').includes('\n')),
  );
  const [line = ''] = daemon.log().split('\n');
  const msg = 'the daemon waits until the module loads';
  expect(JSON.parse(line)).toMatchObject({ level: 'fatal', msg, error: advice });

  renameSync(join(directory, `${binary}.right`), join(directory, binary));
  await until('it serves', () => serves(address));
  expect(daemon.log().split(msg)).toHaveLength(2);
  expect(await daemon.stop()).toEqual({ exitCode: 0, signal: null });
});
