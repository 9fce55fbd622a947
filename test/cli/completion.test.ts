/**
 * Goal: the shells offer what the parser takes. Method: the scripts that the command prints are
 * read by real shells, and each is asked what it would offer at the end of a line.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everyCommand, shapeOf, type CommandShape } from '../../src/cli/args/command-shape.js';
import { buildProgram } from '../../src/cli/main.js';
import { aDirectory, buildLimitMillis, builtCli, cleanUp, stratalog } from './rig.js';
import { offeredBy, type Shell } from './completion-shells.js';

beforeAll(builtCli, buildLimitMillis);

const program = shapeOf(await buildProgram());
const leaves = [...everyCommand(program)].filter(
  ({ commands, name }) => commands.length === 0 && name !== 'help',
);
const lineOf = ({ path }: CommandShape): string => ['stratalog', ...path].join(' ');

const asked = [
  'stratalog ',
  'stratalog lo',
  'stratalog layer ',
  'stratalog help ',
  'stratalog log --type Daemon',
  'stratalog log --type DaemonStarted,Tail',
  'stratalog log --since 2026-01-31T10:00:00Z --type TailC',
  'stratalog layer import --format ',
  'stratalog layer import --format=e',
  'stratalog layer list --layer-store ',
  'stratalog log --root log --t',
  'stratalog serve --config a',
  'stratalog completion ',
  ...leaves.map((command) => `${lineOf(command)} --`),
];

describe.each<Shell>(['bash', 'zsh', 'fish'])('%s', (shell) => {
  const answers = new Map<string, string[]>();

  beforeAll(async () => {
    const directory = await aDirectory();
    await mkdir(join(directory, 'a-directory'));
    await writeFile(join(directory, 'a-file'), '');
    const { stdout, code } = await stratalog(['completion', shell]);
    expect(code).toBe(0);
    const offers = await offeredBy(shell, stdout, asked, directory);
    asked.forEach((line, index) => answers.set(line, offers[index] ?? []));
  });
  afterAll(cleanUp);

  /** Without descriptions, and without what stands before the offered value in the same word. */
  const bare = (word: string): string =>
    word
      .replace(/\t.*$/, '')
      .replace(/^.*[=,]/, '')
      .replace(/\/$/, '');

  /** zsh looks for some words more than once. */
  const offered = (line: string): string[] =>
    [...new Set((answers.get(line) ?? []).map(bare))].sort();

  const namesOf = ({ commands }: CommandShape): string[] =>
    commands.flatMap(({ name, aliases }) => [name, ...aliases]).sort();

  it('offers all commands, and those that begin with what was typed', () => {
    expect(offered('stratalog ')).toEqual(namesOf(program));
    expect(offered('stratalog lo')).toEqual(['log']);
  });

  it('offers sub-commands with their other names', () => {
    const layer = program.commands.find(({ name }) => name === 'layer');
    expect(offered('stratalog layer ')).toEqual(namesOf(layer ?? program));
    expect(offered('stratalog layer ')).toEqual(expect.arrayContaining(['import', 'list', 'ls']));
    expect(offered('stratalog help ')).toContain('inspect');
  });

  it.each(leaves.map((command) => [lineOf(command), command] as const))(
    'offers every flag of %s',
    (line, { options }) => {
      const flags = options.flatMap(({ long }) => (long === null ? [] : [long]));
      expect(offered(`${line} --`)).toEqual(flags.sort());
    },
  );

  it('offers the choices of a flag and of an argument', () => {
    const formats = ['directory', 'erofs', 'squashfs'];
    expect(offered('stratalog layer import --format ')).toEqual(formats);
    expect(offered('stratalog layer import --format=e')).toEqual(['erofs']);
    expect(offered('stratalog completion ')).toEqual(['bash', 'fish', 'zsh']);
  });

  it('offers events, behind a comma too', () => {
    expect(offered('stratalog log --type Daemon')).toEqual(['DaemonStarted', 'DaemonStopped']);
    expect(offered('stratalog log --type DaemonStarted,Tail')).toEqual(['TailCut']);
  });

  it('takes the value of a flag for no command and no flag', () => {
    expect(offered('stratalog log --root log --t')).toEqual(['--to', '--type']);
    expect(offered('stratalog log --since 2026-01-31T10:00:00Z --type TailC')).toEqual(['TailCut']);
  });

  it('offers directories where a directory is meant, and files too where a file is', () => {
    expect(offered('stratalog layer list --layer-store ')).toEqual(['a-directory']);
    expect(offered('stratalog serve --config a')).toEqual(
      expect.arrayContaining(['a-directory', 'a-file']),
    );
  });
});

describe('stratalog completion', () => {
  it('names the shells that it knows when it is asked for another one', async () => {
    const { code, stderr } = await stratalog(['completion', 'tcsh']);
    expect(code).toBe(2);
    expect(stderr).toContain('bash, zsh, fish');
  });
});
