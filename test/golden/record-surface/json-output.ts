/** The JSON of every command that prints some, and the exit code that goes with it. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { until } from '../../../scripts/rig/wait.js';
import { aDaemon, started, type Outcome } from '../../cli/rig.js';
import { runCommand, sharedFixture, type Fixture } from './fixture.js';
import { writeLayerTar } from './layer-tar.js';
import type { SurfacePart } from './part.js';
import { steadyJson, steadyText } from './steady.js';

type CommandLine = readonly string[];

/** Command lines without `--json`; each part runs its own one after the other. */
const cases: Readonly<
  Record<string, (fixture: Fixture) => readonly CommandLine[] | Promise<readonly CommandLine[]>>
> = {
  log: ({ root }) => [['log', '--root', root]],
  history: ({ root }) => ['2', '4', '6'].map((id) => ['history', id, '--root', root]),
  state: ({ root }) => [
    ['state', 'ls', '--all', '--root', root],
    ['state', 'tree', '--at', '30', '--root', root],
    ['state', 'show', '2', '--root', root],
    ['state', 'show', '4', '--root', root],
  ],
  diff: ({ root }) => [['diff', '12', '44', '--root', root]],
  who: ({ root }) => [
    ['who', '2', '--root', root],
    ['who', `${root}/snapshots/2/fs/hosts`, '--root', root],
    ['who', `${root}/snapshots/20`, '--root', root],
  ],
  why: ({ root }) => [['why', '--chain', '4', '--root', root]],
  replay: ({ root }) => [['replay', '--root', root]],
  machine: ({ root }) => [
    ['machine', '--root', root],
    ['machine', '2', '--root', root],
  ],
  inspect: ({ root, damagedRoot }) => [
    ['inspect', '--root', root],
    ['inspect', '--root', damagedRoot],
  ],
  verify: ({ root, damagedRoot }) => [
    ['verify', '--root', root],
    ['verify', '--no-events', '--root', damagedRoot],
  ],
  repair: async (fixture) => [
    ['repair', '--dry-run', '--root', fixture.root],
    ['repair', '--yes', '--root', await fixture.copyOf(fixture.damagedRoot)],
  ],
  gc: async (fixture) => [
    ['gc', '--dry-run', '--root', fixture.root],
    ['gc', '--no-size', '--yes', '--root', await fixture.copyOf(fixture.root)],
  ],
  layers: ({ root }) => [
    ['layers', '--root', root],
    ['layers', '--unavailable', '--at', '13', '--root', root],
  ],
  import: (fixture) => [['import', fixture.exportFile, '--root', fixture.path('imported')]],
  checkpoint: async (fixture) => [['checkpoint', '--root', await fixture.copyOf(fixture.root)]],
  compact: async (fixture) => [
    ['compact', '--before', '20', '--dry-run', '--root', fixture.root],
    ['compact', '--before', '20', '--yes', '--root', await fixture.copyOf(fixture.root)],
  ],
  layer: async (fixture) => {
    const tar = fixture.path('layer.tar');
    const chainId = await writeLayerTar(tar);
    const store = ['--layer-store', fixture.path('store')];
    return [
      ['layer', 'import', `tar:${tar}`, '--chain-id', chainId, ...store],
      ['layer', 'import', `tar:${tar}`, '--chain-id', chainId, ...store],
      ['layer', 'ls', '--check', ...store],
    ];
  },
  config: async (fixture) => {
    const [good, bad] = [fixture.path('good.toml'), fixture.path('bad.toml')];
    await writeFile(good, 'root = "/srv/stratalog"\n[log]\nlevel = "debug"\n');
    await writeFile(bad, 'root = 1\nnone = 2\n');
    return [good, bad].map((file) => ['config', 'check', '--async-remove', '--config', file]);
  },
};

/** Their lines are JSON without the option. */
const withoutOption: typeof cases = {
  export: ({ root }) => [['export', '--from', '14', '--to', '20', '--root', root]],
  attest: async (fixture) => {
    const key = fixture.path('attest.pem');
    const { privateKey } = generateKeyPairSync('ed25519');
    await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    return [['attest', '--key', key, '--root', fixture.root]];
  },
};

const partOf = (name: string, record: (fixture: Fixture) => Promise<string>): SurfacePart => ({
  file: `json-${name}.txt`,
  record: async () => record(await sharedFixture()),
});

const partsOf = (table: typeof cases, more: readonly string[]): readonly SurfacePart[] =>
  Object.entries(table).map(([name, linesOf]) =>
    partOf(name, async (fixture) => {
      const sections: string[] = [];
      for (const line of await linesOf(fixture)) {
        const args = [...line, ...more];
        sections.push(section(args, await runCommand(args), fixture.directory));
      }
      return sections.join('\n');
    }),
  );

function section(
  args: CommandLine,
  { code, stdout }: Pick<Outcome, 'code' | 'stdout'>,
  directory: string,
): string {
  const words = steadyText(['stratalog', ...args].join(' '), directory);
  return `$ ${words}\n${steadyJson(stdout, directory)}\n(exit code ${code})\n`;
}

/** What needs a running program. */
const running: readonly SurfacePart[] = [
  partOf('health', async ({ directory }) => {
    const { address } = await aDaemon();
    const args = ['health', '--json', '--address'];
    const outcome = await runCommand([...args, address]);
    return section([...args, '<socket>'], outcome, directory);
  }),
  partOf('ui', async ({ root, directory }) => {
    const args = ['ui', '--json', '--root', root];
    const page = started(args);
    await until('the link is printed', () => page.lines().length === 1);
    page.child.kill('SIGINT');
    const code = (await page.ended) ?? -1;
    return section(args, { code, stdout: page.lines().join('\n') }, directory);
  }),
];

export const jsonOutput: readonly SurfacePart[] = [
  ...partsOf(cases, ['--json']),
  ...partsOf(withoutOption, []),
  ...running,
];
