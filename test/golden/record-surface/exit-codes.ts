/** Command lines with their exit codes, and nothing of what they print. */
import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../../../scripts/rig/wait.js';
import { aDaemonToBe, shell, started } from '../../cli/rig.js';
import { workingCommands } from './commands.js';
import { runCommand, sharedFixture, succeed, type Fixture } from './fixture.js';
import { writeLayerTar } from './layer-tar.js';
import type { SurfacePart } from './part.js';
import { steadyText } from './steady.js';

type CommandLine = readonly string[];

/** Commands that take `--root`; `*` are those that write, which get a root of their own. */
const onRoot: Readonly<Record<string, CommandLine>> = {
  log: [],
  history: ['2'],
  'state ls': [],
  'state tree': [],
  'state show': ['2'],
  diff: ['10', '10'],
  who: ['2'],
  why: ['2'],
  replay: [],
  machine: ['2'],
  inspect: [],
  verify: [],
  'repair*': ['--yes'],
  'gc*': ['--yes'],
  layers: [],
  mount: ['7', '--', 'true'],
  export: [],
  attest: ['--key', '<key>'],
  'checkpoint*': [],
  'compact*': ['--before', '20', '--yes'],
};

/** Commands of `onRoot`, and those that have sections of their own below. */
const listed: ReadonlySet<string> = new Set([
  ...Object.keys(onRoot).map((name) => name.replace('*', '')),
  ...['serve', 'health', 'ui', 'import', 'layer import', 'layer ls'],
  ...['config default', 'config check', 'config containerd', 'completion'],
]);

interface Files {
  readonly fixture: Fixture;
  readonly key: string;
  readonly tar: string;
  readonly chainId: string;
  readonly store: string;
  readonly expectExisting: string;
  readonly wrongConfig: string;
  readonly newerExport: string;
  readonly damagedExport: string;
}

export const exitCodes: SurfacePart = {
  file: 'exit-codes.txt',
  record: async () => {
    const commands = (await workingCommands()).map((words) => words.join(' '));
    const missing = commands.filter((name) => !listed.has(name));
    if (missing.length > 0) throw new Error(`no command line for ${missing.join(', ')}`);
    const files = await prepare(await sharedFixture());
    const sections = [
      section('success', [...roots(files, 'root'), ...successes(files)]),
      section('a root, socket or file that does not exist', [
        ...roots(files, 'none'),
        ...absences(files),
      ]),
      section('an unknown option', commands.map(badOption)),
      section('damage', [...roots(files, 'damaged'), ...damages(files)]),
      section('other', others(files)),
      section('beside a daemon', [besideDaemon(files)]),
    ];
    return (await Promise.all(sections)).join('\n');
  },
};

/** Each gives lines of the section. */
type Trial = () => Promise<string | readonly string[]>;

async function section(title: string, trials: readonly Trial[]): Promise<string> {
  const lines = (await Promise.all(trials.map((trial) => trial()))).flat();
  const { directory } = await sharedFixture();
  return `${[`# ${title}`, ...lines.map((line) => steadyText(line, directory))].join('\n')}\n`;
}

const lineOf = (code: number | null, args: CommandLine): string =>
  `${String(code).padStart(3)}  ${['stratalog', ...args].join(' ')}`;

async function toItsEnd(args: CommandLine): Promise<string> {
  return lineOf((await runCommand(args)).code, args);
}

const simply =
  (...args: CommandLine): Trial =>
  () =>
    toItsEnd(args);

const badOption =
  (name: string): Trial =>
  () =>
    toItsEnd([...name.split(' '), '--no-such-option']);

async function prepare(fixture: Fixture): Promise<Files> {
  const files = {
    fixture,
    key: fixture.path('exit-codes.pem'),
    tar: fixture.path('exit-codes.tar'),
    store: fixture.path('exit-codes-store'),
    expectExisting: fixture.path('expect-existing.toml'),
    wrongConfig: fixture.path('wrong.toml'),
    newerExport: fixture.path('newer.jsonl'),
    damagedExport: fixture.path('damaged.jsonl'),
  };
  const { privateKey } = generateKeyPairSync('ed25519');
  await writeFile(files.key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(files.expectExisting, 'expect_existing = true\n');
  await writeFile(files.wrongConfig, 'none = 1\n');
  const lines = await succeed('export', '--root', fixture.root);
  await writeFile(files.newerExport, lines.replace('"formatVersion":1', '"formatVersion":2'));
  await writeFile(files.damagedExport, lines.replace('SIGTERM', 'SIGKILL'));
  return { ...files, chainId: await writeLayerTar(files.tar) };
}

function roots({ fixture, key }: Files, which: 'root' | 'damaged' | 'none'): readonly Trial[] {
  return Object.entries(onRoot).map(([name, more], index) => async () => {
    const shared = which === 'root' ? fixture.root : fixture.damagedRoot;
    const writes = name.endsWith('*');
    const existing = writes ? await fixture.copyOf(shared) : shared;
    const root = which === 'none' ? fixture.path(`none-${index}`) : existing;
    const words = name.replace('*', '').split(' ');
    const args = more.map((word) => (word === '<key>' ? key : word));
    return toItsEnd([...words, '--root', root, ...args]);
  });
}

function successes({ fixture, tar, chainId, store }: Files): readonly Trial[] {
  const { root, exportFile } = fixture;
  return [
    simply('import', exportFile, '--root', fixture.path('exit-codes-imported')),
    interrupted('ui', '--root', root),
    interrupted('log', '--follow', '--root', root),
    async () => [
      await toItsEnd([
        'layer',
        'import',
        `tar:${tar}`,
        '--chain-id',
        chainId,
        '--layer-store',
        store,
      ]),
      await toItsEnd(['layer', 'ls', '--layer-store', store, '--check']),
    ],
    simply('config', 'default'),
    simply('config', 'check', '--root', root),
    simply('config', 'containerd', '--root', root),
    simply('completion', 'bash'),
    simply('--version'),
    simply('--help'),
    simply('log', '--help'),
  ];
}

/** Runs until it has printed something, or to its end, and is interrupted then. */
const interrupted =
  (...args: CommandLine): Trial =>
  async () => {
    const command = started(args);
    await until('it prints or ends', () => {
      return command.lines().length > 0 || command.child.exitCode !== null;
    });
    command.child.kill('SIGINT');
    return `${lineOf(await command.ended, args)} (then SIGINT)`;
  };

function absences({ fixture, store, expectExisting }: Files): readonly Trial[] {
  const [root, socket, file] = ['none-root', 'none.sock', 'none-file'].map((name) =>
    fixture.path(name),
  ) as [string, string, string];
  const serving = ['--address', fixture.path('serve.sock'), '--config', expectExisting];
  return [
    simply('serve', '--root', root, ...serving),
    simply('health', '--address', socket),
    simply('log', '--address', socket),
    simply('ui', '--root', root),
    simply('import', file, '--root', fixture.path('none-import')),
    simply(
      'layer',
      'import',
      `tar:${file}`,
      '--chain-id',
      `sha256:${'0'.repeat(64)}`,
      '--layer-store',
      store,
    ),
    simply('layer', 'import', `oci:${file}:v1`, '--layer-store', store),
    simply('layer', 'ls', '--layer-store', file),
    simply('config', 'check', '--config', file),
    simply('config', 'containerd', '--config', file),
  ];
}

function damages({ fixture, damagedExport }: Files): readonly Trial[] {
  const serving = ['--address', fixture.path('serve-damaged.sock')];
  return [
    async () => {
      const root = await fixture.copyOf(fixture.damagedRoot);
      return toItsEnd(['serve', '--root', root, ...serving]);
    },
    simply('repair', '--dry-run', '--root', fixture.damagedRoot),
    simply('gc', '--dry-run', '--root', fixture.damagedRoot),
    simply('compact', '--before', '20', '--dry-run', '--root', fixture.damagedRoot),
    interrupted('ui', '--root', fixture.damagedRoot),
    simply('import', damagedExport, '--root', fixture.path('none-damaged')),
    layerDamage(fixture),
  ];
}

/** The manifest of a stored layer is overwritten. */
const layerDamage =
  (fixture: Fixture): Trial =>
  async () => {
    const [tar, store] = [fixture.path('damaged.tar'), fixture.path('damaged-store')];
    const chainId = await writeLayerTar(tar);
    const args = ['--layer-store', store];
    await succeed('layer', 'import', `tar:${tar}`, '--chain-id', chainId, ...args);
    const layer = join(store, 'sha256', chainId.replace('sha256:', ''));
    await writeFile(join(layer, 'manifest.json'), '{}');
    return toItsEnd(['layer', 'ls', ...args, '--check']);
  };

function others({ fixture, wrongConfig, newerExport, key }: Files): readonly Trial[] {
  const { root } = fixture;
  return [
    simply(),
    simply('no-such-command'),
    simply('state'),
    simply('serve', '--config', wrongConfig),
    simply('config', 'check', '--config', wrongConfig),
    simply('log', '--root', root, '--from', 'nonsense'),
    simply('log', '--root', root, '--type', 'NoSuchEvent'),
    simply('log', '--root', root, '--address', fixture.path('none.sock')),
    simply('history', 'no-such-snapshot', '--root', root),
    simply('state', 'show', '99', '--root', root),
    simply('state', 'ls', '--root', root, '--at', '9999'),
    simply('why', 'no-such-layer', '--root', root),
    simply('who', `${root}/snapshots/20`, '--root', root),
    simply('machine', '99', '--root', root),
    simply('mount', '99', '--root', root),
    simply('diff', '10', '40', '--root', root),
    simply('layers', '--unavailable', '--at', '13', '--root', root),
    simply('gc', '--dry-run', '--root', root),
    simply('verify', '--root', root, '--against', `46:${'0'.repeat(64)}`),
    simply('attest', '--root', root, '--key', wrongConfig),
    simply('attest', '--root', root, '--key', key, '--at', '9999'),
    simply('export', '--root', root, '--from', '46'),
    simply('import', newerExport, '--root', fixture.path('none-newer')),
    simply('import', fixture.exportFile, '--root', root),
    simply('health', '--timeout', 'soon'),
    simply('completion', 'no-such-shell'),
    newerRoot(fixture),
    async () => {
      const line = `log --root ${root} > /dev/full`;
      return lineOf((await shell(`stratalog ${line}`)).code, [line]);
    },
  ];
}

const newerRoot =
  (fixture: Fixture): Trial =>
  async () => {
    const root = await fixture.copyOf(fixture.root);
    const identity = join(root, 'identity.json');
    const text = await readFile(identity, 'utf8');
    await writeFile(identity, text.replace('"formatVersion": 1', '"formatVersion": 2'));
    return `${await toItsEnd(['log', '--root', root])} (of a later format)`;
  };

/** One after the other: the daemon is stopped at the end, and its root is clean then. */
const besideDaemon =
  ({ fixture, key }: Files): Trial =>
  async () => {
    const daemon = await aDaemonToBe();
    await daemon.start();
    const { root, address } = daemon;
    const lines: string[] = [];
    for (const args of [
      ['health', '--address', address],
      ['health', '--address', address, '--service', 'no-such-service'],
      ['log', '--address', address],
      ['log', '--root', root],
      ['inspect', '--root', root],
      ['verify', '--root', root],
      ['gc', '--root', root, '--address', address],
      ['attest', '--root', root, '--key', key],
      ['repair', '--root', root, '--yes'],
      ['checkpoint', '--root', root],
      ['compact', '--root', root, '--before', '1', '--yes'],
      ['serve', '--root', root, '--address', fixture.path('second.sock')],
    ]) {
      lines.push(await toItsEnd(args));
    }
    const { exitCode } = await daemon.stop();
    lines.push(
      `${lineOf(exitCode, ['serve', '--root', root, '--address', address])} (then SIGTERM)`,
    );
    lines.push(await toItsEnd(['inspect', '--root', root]));
    lines.push(await toItsEnd(['repair', '--root', root, '--yes']));
    return lines.map((line) => line.replaceAll(root, '<served>').replaceAll(address, '<socket>'));
  };
