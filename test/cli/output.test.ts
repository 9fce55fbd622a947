/**
 * Goal: no command succeeds without writing its output, and colors are only written to a terminal.
 * Method: a shell command for each command of the parser's tree, with stdout on a full disk, on a
 * closed pipe, on a file system that fills up, and on real pseudo terminals.
 */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { terminalTraits } from '../../src/base/terminal.js';
import { everyCommand, shapeOf } from '../../src/cli/args/command-shape.js';
import { buildProgram } from '../../src/cli/main.js';
import {
  aCommitted,
  aDaemon,
  aDirectory,
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  cliPath,
  committed,
  committing,
  daemonStarted,
  prepared,
  preparing,
  removing,
  shell,
} from './rig.js';
import { share } from '../support/effort.js';

/** The arguments of the commands below. */
interface World {
  /** A stopped root with a layer, an orphan and an unavailable layer. */
  readonly root: string;
  readonly socket: string;
  readonly key: string;
  readonly lines: string;
  readonly store: string;
  readonly tar: string;
  readonly chainId: string;
}

let world: World;

beforeAll(async () => {
  await builtCli();
  world = await aWorld();
}, buildLimitMillis);
afterAll(cleanUp);

const emptyTar = Buffer.alloc(1024);
/** SHA-256 of two zero blocks. */
const emptyDiff = 'sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef';

async function aWorld(): Promise<World> {
  const layer = 'k8s.io/2/layer';
  const root = await aRoot([
    daemonStarted({ fileSystem: null }),
    ...[preparing(1, 'k8s.io/1/x'), prepared(1), committing(1, layer), committed(1, layer)],
    ...[preparing(2, 'k8s.io/3/web'), prepared(2), removing(2, true)],
    {
      stream: 'snapshot-1',
      type: 'LayerUnavailable',
      data: { reason: 'lost', attempts: 1, retryAt: null },
    },
  ]);
  aCommitted(root, 1);
  mkdirSync(join(root, 'snapshots', 'stranger'));
  const directory = await aDirectory();
  const at = (name: string): string => join(directory, name);
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(at('key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
  writeFileSync(at('layer.tar'), emptyTar);
  const daemon = await aDaemon();
  const made = {
    ...{ root, socket: daemon.address, key: at('key.pem'), lines: at('log.jsonl') },
    ...{ store: at('store'), tar: at('layer.tar'), chainId: emptyDiff },
  };
  const prepare = await shell(
    `set -e; stratalog export --root ${root} -o ${made.lines}
     stratalog layer import tar:${made.tar} --layer-store ${made.store} --chain-id ${emptyDiff}`,
  );
  expect(prepare).toMatchObject({ code: 0 });
  return made;
}

/** Each prints to stdout. `$(mktemp -d -p "$T")` is a new directory. */
const lines: Readonly<Record<string, (world: World) => string>> = {
  health: ({ socket }) => `health -a ${socket}`,
  log: ({ root }) => `log --root ${root}`,
  history: ({ root }) => `history 1 --root ${root}`,
  'state ls': ({ root }) => `state ls --root ${root}`,
  'state tree': ({ root }) => `state tree --root ${root}`,
  'state show': ({ root }) => `state show 1 --root ${root}`,
  diff: ({ root }) => `diff 0 --root ${root}`,
  who: ({ root }) => `who 1 --root ${root}`,
  why: ({ root }) => `why 1 --root ${root}`,
  replay: ({ root }) => `replay --frames --root ${root}`,
  machine: ({ root }) => `machine 1 --root ${root}`,
  ui: ({ root }) => `ui --root ${root} < /dev/null`,
  inspect: ({ root }) => `inspect --root ${root}`,
  verify: ({ root }) => `verify --root ${root}`,
  repair: ({ root }) => `repair --root ${root}`,
  gc: ({ root }) => `gc --dry-run --root ${root}`,
  layers: ({ root }) => `layers --root ${root}`,
  mount: ({ root }) => `mount 1 --root ${root} < /dev/null`,
  export: ({ root }) => `export --root ${root}`,
  import: ({ lines: file }) => `import ${file} --root "$(mktemp -d -p "$T")"`,
  attest: ({ root, key }) => `attest --key ${key} --root ${root}`,
  checkpoint: ({ root }) => `checkpoint --root ${root}`,
  compact: ({ root }) => `compact --before 0 --dry-run --root ${root}`,
  'layer import': ({ tar, chainId }) =>
    `layer import tar:${tar} --layer-store "$(mktemp -d -p "$T")" --chain-id ${chainId}`,
  'layer ls': ({ store }) => `layer ls --layer-store ${store}`,
  'config default': () => 'config default',
  'config check': () => 'config check --config /dev/null',
  'config containerd': () => 'config containerd --config /dev/null',
  completion: () => 'completion bash',
  help: () => 'help',
  'state help': () => 'state help show',
  'layer help': () => 'layer help',
  'config help': () => 'config help check',
  '--help': () => '--help',
  '--version': () => '--version',
  'log --help': () => 'log --help',
};
/** Commands without output on stdout. */
const silent = ['serve'];
/** Commands that run until interrupted, unless their output fails. */
const endless = ['ui'];

it('tests every command', async () => {
  const leaves = [...everyCommand(shapeOf(await buildProgram()))]
    .filter(({ path, commands }) => path.length > 0 && commands.length === 0)
    .map(({ path }) => path.join(' '));
  const tried = Object.keys(lines).filter((name) => !name.includes('--'));
  expect([...tried, ...silent].sort()).toEqual(leaves.sort());
});

const names = Object.keys(lines);

/** The command line, with a prefix and with a redirection of its output. */
async function lineOf(name: string, before: string, after: string): Promise<string> {
  const temporary = await aDirectory();
  const command = `stratalog ${lines[name]?.(world) ?? ''}`;
  return `export T=${temporary} TMPDIR=${temporary}\n${before} ${command} ${after}`;
}

/** Runs on a pseudo terminal. Returns stdout and stderr combined. */
async function onTerminal(line: string, term: string): Promise<string> {
  const script = join(await aDirectory(), 'script');
  const program = `stratalog() { "${process.execPath}" "${cliPath}" "$@"; }`;
  writeFileSync(script, `${program}\n${line}\n`);
  const run = `TERM=${term} SHELL=/bin/sh script -qec 'bash --norc ${script}' /dev/null < /dev/null`;
  return (await shell(run)).stdout;
}

const escape = '\u001b';

describe.each(share(names, 4))('%s', (name) => {
  it('fails on a full disk with a one-line message', async () => {
    const { code, stdout, stderr } = await shell(await lineOf(name, '', '> /dev/full'));
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^stratalog: cannot write to stdout: ENOSPC: .*; free space or inodes on/m,
    );
    expect(stderr.match(/cannot write/g)).toHaveLength(1);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('exits with 141 when the reader is gone, without a message', async () => {
    // The reader has exited before the command starts.
    const line = await lineOf(name, 'exec 3> >(exit 0); wait $!;', '>&3');
    const { code, stderr } = await shell(line);
    expect(code).toBe(141);
    expect(stderr).not.toMatch(/EPIPE|pipe|stdout|cannot write|^\s+at /m);
  });
});

const ending = names.filter((name) => !endless.includes(name));

describe.each(share(ending, 4))('%s', (name) => {
  it('writes plain text without a terminal', async () => {
    const { stdout } = await shell(await lineOf(name, '', ''));
    expect(stdout).not.toBe('');
    expect(stdout).not.toContain(escape);
  });

  it('writes plain text to a dumb terminal', async () => {
    const text = await onTerminal(await lineOf(name, '', ''), 'dumb');
    expect(text).not.toBe('');
    expect(text).not.toContain(escape);
  });
});

it('ends a command in the middle of a long output when its reader exits', async () => {
  const events = [...Array(1500).keys()].flatMap((n) => [preparing(n + 1, `n/${n + 1}/key`)]);
  const root = await aRoot(events);
  for (const command of ['log', 'log --json', 'export', 'state --all', 'replay --frames']) {
    const { code, stdout, stderr } = await shell(
      `set -o pipefail; stratalog ${command} --root ${root} | head -n 1`,
    );
    expect({ command, code, stderr }).toEqual({ command, code: 141, stderr: '' });
    expect(stdout.split('\n')).toHaveLength(2);
  }
  // With stdout and stderr on the same pipe.
  const both = await shell(`set -o pipefail; stratalog log --root ${root} 2>&1 | head -n 1`);
  expect(both).toMatchObject({ code: 141, stderr: '' });
}, 120_000);

it('does not treat the last, short write before a disk is full as complete', async () => {
  const root = await aRoot([...Array(200).keys()].map((n) => preparing(n + 1, `n/${n + 1}/key`)));
  const whole = await shell(`stratalog log --json --root ${root}`);
  expect(whole.code).toBe(0);
  const small = await aDirectory();
  const pages = Math.floor(Buffer.byteLength(whole.stdout) / 4096);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${pages * 4096}`, 'tmpfs', small]);
  try {
    const { code, stderr } = await shell(`stratalog log --json --root ${root} > ${small}/file`);
    // The file has a part of the last write.
    expect(readFileSync(join(small, 'file'))).toHaveLength(pages * 4096);
    expect({ code, stderr }).toMatchObject({ code: 1 });
    expect(stderr).toMatch(/^stratalog: cannot write to stdout: ENOSPC/);
  } finally {
    execFileSync('umount', [small]);
  }
});

it('unmounts if the mountpoint cannot be printed', async () => {
  const { code } = await shell(await lineOf('mount', '', '> /dev/full'));
  expect(code).toBe(1);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain('stratalog-mount-');
});

describe('colors', () => {
  /** TERM of a terminal, or null for a pipe; the environment; whether there are colors. */
  const table: readonly (readonly [string | null, Readonly<Record<string, string>>, boolean])[] = [
    ['xterm', {}, true],
    ['xterm', { NO_COLOR: '' }, true],
    ['xterm', { NO_COLOR: '1' }, false],
    ['xterm', { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
    ['xterm', { NO_COLOR: '1', CLICOLOR_FORCE: '1' }, false],
    ['xterm', { FORCE_COLOR: '0' }, false],
    ['xterm', { FORCE_COLOR: 'false' }, false],
    ['xterm', { CLICOLOR: '0' }, false],
    ['xterm', { CLICOLOR: '1' }, true],
    ['xterm', { CLICOLOR: '0', CLICOLOR_FORCE: '1' }, true],
    ['dumb', {}, false],
    ['', {}, true],
    ['dumb', { FORCE_COLOR: '1' }, true],
    ['dumb', { CI: 'true' }, false],
    [null, {}, false],
    [null, { CI: 'true' }, false],
    [null, { CLICOLOR: '1' }, false],
    [null, { CLICOLOR_FORCE: '0' }, false],
    [null, { FORCE_COLOR: '' }, false],
    [null, { FORCE_COLOR: '1' }, true],
    [null, { FORCE_COLOR: 'true' }, true],
    [null, { CLICOLOR_FORCE: '1' }, true],
    [null, { FORCE_COLOR: '1', NO_COLOR: '1' }, false],
  ];

  it.each(table)('TERM %j with %j: %j', (term, environment, hasColors) => {
    const isTerminal = term !== null;
    const traits = terminalTraits(isTerminal, { TERM: term ?? 'xterm', ...environment });
    const canRedraw = isTerminal && term !== 'dumb';
    expect(traits).toEqual({ isTerminal, hasColors, canRedraw });
  });

  it('are on for a terminal, and for a pipe if forced', async () => {
    const line = await lineOf('layers', '', '');
    const forced = await lineOf('layers', 'export FORCE_COLOR=1;', '');
    expect(await onTerminal(line, 'xterm')).toContain(escape);
    expect(await onTerminal(`export NO_COLOR=1; ${line}`, 'xterm')).not.toContain(escape);
    expect((await shell(forced)).stdout).toContain(escape);
    expect((await shell(`export NO_COLOR=1; ${forced}`)).stdout).not.toContain(escape);
  });

  it('are determined separately for stdout and stderr', async () => {
    const directory = await aDirectory();
    // A daemon only writes to stderr.
    const serve = `stratalog serve --config /dev/null --root ${directory}/root --address ${directory}/s --log-format text`;
    const stop = `& until stratalog health -q -a ${directory}/s 2>/dev/null; do sleep 0.1; done; kill $!; wait`;
    const onScreen = await onTerminal(`${serve} > ${directory}/out ${stop}`, 'xterm');
    expect(onScreen).toContain(escape);
    expect(readFileSync(join(directory, 'out'), 'utf8')).toBe('');
    const layers = await lineOf('layers', '', '');
    expect(await onTerminal(`${layers} > ${directory}/rows`, 'xterm')).not.toContain(escape);
    expect(readFileSync(join(directory, 'rows'), 'utf8')).not.toContain(escape);
    expect(await onTerminal(`${layers} 2> ${directory}/notes`, 'xterm')).toContain(escape);
  });
});

it('prompts on a dumb terminal without control sequences', async () => {
  const { root } = world;
  const long = await aRoot([...Array(60).keys()].map((n) => preparing(n + 1, `n/${n + 1}/key`)));
  const prompt = await onTerminal(`stratalog compact --before 40 --root ${long}`, 'dumb');
  expect(prompt).toContain('Will be dropped:');
  expect(prompt).toMatch(/nothing was dropped/);
  expect(prompt).not.toContain(escape);
  const replay = await onTerminal(`stratalog replay --root ${root}`, 'dumb');
  expect(replay).toContain('SnapshotPrepared');
  expect(replay).not.toContain(escape);
});
