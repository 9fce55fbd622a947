/**
 * Goal: a command works with any path, or refuses it before it creates anything. Method: each option
 * and argument that is a path, from the parser's tree; real directories whose names are special to
 * mounts, to gRPC or to a shell.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import { everyCommand, shapeOf } from '../../src/cli/args/command-shape.js';
import { buildProgram } from '../../src/cli/main.js';
import { pathKind } from '../../src/cli/args/path-values.js';
import { ask } from '../hostile/cli.js';
import { golden } from './recipes.js';
import {
  aCommitted,
  aDirectory,
  aRoot,
  buildLimitMillis,
  builtCli,
  cleanUp,
  committed,
  committing,
  prepared,
  preparing,
  shell,
  started,
  stratalog,
} from './rig.js';
import { share } from '../support/effort.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

/** Node.js replaces invalid UTF-8 in arguments. */
const notUtf8 = '/tmp/\u{fffd}';
const refusal =
  /^stratalog: path \/tmp\/\u{fffd} is not valid UTF-8; rename it, or make a link to it\n$/u;

/** One command line for each path that a command accepts, with all required arguments. */
async function commandLines(): Promise<readonly (readonly string[])[]> {
  const lines: string[][] = [];
  for (const { path, options, arguments: all, commands } of everyCommand(
    shapeOf(await buildProgram()),
  )) {
    if (path.length === 0 || path.at(-1) === 'help' || commands.length > 0) continue;
    const required = all.filter(({ term }) => term.startsWith('<'));
    const words = required.map(({ name }) => (pathKind(name) === null ? 'bash' : notUtf8));
    const mandatory = options.flatMap(({ long, isMandatory }) =>
      isMandatory && long !== null ? [long, '/tmp/none'] : [],
    );
    if (words.includes(notUtf8)) lines.push([...path, ...mandatory, ...words]);
    for (const { long, value } of options) {
      if (long === null || value === null || pathKind(value) === null) continue;
      const others = mandatory.filter((_, at) => mandatory[at - (at % 2)] !== long);
      const plain = words.map((word) => (word === notUtf8 ? '/tmp/none' : word));
      lines.push([...path, ...others, long, notUtf8, ...plain]);
    }
  }
  return lines;
}

it('refuses each path that is not UTF-8, in every command', async () => {
  const lines = await commandLines();
  expect(lines.length).toBeGreaterThan(50);
  for (const line of lines) {
    const { code, message, stdout } = await ask(line);
    expect({ line, code, stdout }).toEqual({ line, code: 2, stdout: '' });
    expect(message, line.join(' ')).toMatch(refusal);
  }
});

describe('real bytes that are not UTF-8', () => {
  it.each([
    ['a root', (directory: string) => `stratalog inspect --root ${directory}/$'\\xff'`],
    [
      'a root from the environment',
      (directory: string) => `STRATALOG_ROOT=${directory}/$'\\xff' stratalog log`,
    ],
    [
      'a root to serve',
      (directory: string) => `stratalog serve --config /dev/null --root ${directory}/$'\\xff'`,
    ],
    [
      'a root to create',
      (directory: string) => `stratalog import ${golden}/../x --root ${directory}/$'\\xfe'`,
    ],
    [
      'a file to write',
      (directory: string) => `stratalog export --root ${golden} -o ${directory}/$'\\xfe'`,
    ],
    ['a store', (directory: string) => `stratalog layer ls --layer-store ${directory}/$'\\xff'`],
    [
      'a root behind a link',
      (directory: string) =>
        `ln -s ${directory}/$'\\xff' ${directory}/link; stratalog serve --config /dev/null --root ${directory}/link --address ${directory}/s`,
    ],
  ])('are refused for %s, and nothing is created', async (_, line) => {
    const directory = await aDirectory();
    expect(await shell(`cp -r ${golden} ${directory}/$'\\xff'`)).toMatchObject({ code: 0 });
    const { code, stdout, stderr } = await shell(line(directory));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/not valid UTF-8/);
    const names = readdirSync(directory, { encoding: 'buffer' }).map((name) =>
      name.toString('latin1'),
    );
    expect(names.filter((name) => name !== 'link')).toEqual(['\u00ff']);
  });

  it('are allowed in the working directory and behind a link', async () => {
    const directory = await aDirectory();
    const { stdout: expected } = await shell(
      `stratalog log -q --root ${golden} | tail -1 && stratalog export --root ${golden} -o - | wc -l`,
    );
    expect(expected).toMatch(/^[1-9]\d*\n[1-9]\d*\n$/);
    const outcome = await shell(
      `cp -r ${golden} ${directory}/$'\\xff' && ln -s $'\\xff' ${directory}/link &&
       stratalog log -q --root ${directory}/link | tail -1 &&
       cd ${directory}/$'\\xff' && stratalog export --root ${golden} -o ../lines && wc -l < ../lines`,
    );
    expect(outcome).toMatchObject({ code: 0, stdout: expected });
    expect(existsSync(join(directory, 'lines'))).toBe(true);
  });
});

const odd = ['a b', 'a"b', "a'b", 'a%20b', 'a#b', 'größe', '-a', '$(x)', 'a;b', 'a=b'];
/** Characters that are special in overlay mount options, and that containerd does not escape. */
const special = ['a:b', 'a,b', 'a\\b', 'a\nb', 'a\tb'];

it.each(share(odd, 3))('serves a root and a socket below %j', async (name) => {
  const directory = join(await aDirectory(), name);
  mkdirSync(directory);
  const address = join(directory, 's');
  const root = join(directory, 'root');
  started(['serve', '--config', '/dev/null', '--root', root, '--address', address]);
  await until('the daemon to serve', async () => {
    const { code } = await stratalog(['health', '--address', address]);
    return code === 0;
  });
  expect(await stratalog(['log', '-q', '--root', root])).toMatchObject({ code: 0, stderr: '' });
  const state = await stratalog(['state', '--address', address]);
  expect(state).toMatchObject({ code: 0, stderr: '' });
});

it.each(share(special, 2))(
  'refuses to serve a root below %j, but reads a copy there',
  async (name) => {
    const directory = join(await aDirectory(), name);
    const root = join(directory, 'root');
    const refused = await ask(['serve', '--config', '/dev/null', '--root', root]);
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(refused.message).toMatch(/which the options of an overlay mount cannot; choose another/);
    expect(existsSync(directory)).toBe(false);
    const layer = 'k8s.io/2/layer';
    const made = await aRoot([
      preparing(1, 'n/1/x'),
      prepared(1),
      committing(1, layer),
      committed(1, layer),
    ]);
    aCommitted(made, 1);
    writeFileSync(join(made, 'snapshots/1/fs/file'), 'content');
    await cp(made, root, { recursive: true });
    expect(await stratalog(['inspect', '--offline', '--root', root])).toMatchObject({ code: 0 });
    const shown = await stratalog(['mount', '1', '--root', root, '--', 'cat', 'file']);
    expect(shown).toMatchObject({ code: 0, stdout: 'content' });
    const file = join(directory, 'lines');
    expect(await stratalog(['export', '--root', root, '-o', file])).toMatchObject({ code: 0 });
    const back = join(directory, 'back');
    expect(await stratalog(['import', file, '--root', back])).toMatchObject({ code: 0 });
  },
);

it.each([
  ['an export', (root: string) => ['export', '--root', golden, '-o', `${root}/log/x`]],
  ['an export next to the log', (root: string) => ['export', '--root', golden, '-o', `${root}/x`]],
  ['an export to an existing path', (root: string) => ['export', '--root', golden, '-o', root]],
  ['a root', (root: string) => ['import', '/dev/null', '--root', `${root}/snapshots/77`]],
  [
    'a root deep in a layer',
    (root: string) => ['import', '-', '--root', `${root}/snapshots/1/fs/a/b`],
  ],
  ['a root over itself', (root: string) => ['import', '/dev/null', '--root', root]],
  ['a mount', (root: string) => ['mount', '1', `${root}/snapshots/1/fs`, '--root', root]],
  [
    'a layer store',
    (root: string) => [
      ...['layer', 'import', 'tar:/dev/null', '--layer-store', `${root}/snapshots/9`],
      ...['--chain-id', `sha256:${'0'.repeat(64)}`],
    ],
  ],
  [
    'a layer store of a daemon',
    (root: string) => ['serve', '--root', root, '--layer-store', `${root}/snapshots/layers`],
  ],
])('refuses to put %s into a root', async (_, line) => {
  const root = await aRoot([preparing(1, 'n/1/x'), prepared(1)]);
  mkdirSync(join(root, 'snapshots/1/fs'), { recursive: true });
  const all = () => readdirSync(root, { recursive: true }).sort();
  const before = all();
  const { code, stdout, message } = await ask(line(root));
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(message).toMatch(
    /is inside the root \S+, where unknown files are deleted; choose another (path|directory)|file exists|is not empty/,
  );
  expect(all()).toEqual(before);
});
