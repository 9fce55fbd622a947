/**
 * Goal: shells complete what the parser accepts. Method: real shells load the printed scripts and
 * complete the ends of lines.
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

const lines = [
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
    const offers = await offeredBy(shell, stdout, lines, directory);
    lines.forEach((line, index) => answers.set(line, offers[index] ?? []));
  });
  afterAll(cleanUp);

  /** Without descriptions, and without the part of the word before the completed value. */
  const bare = (word: string): string =>
    word
      .replace(/\t.*$/, '')
      .replace(/^.*[=,]/, '')
      .replace(/\/$/, '');

  /** zsh looks up some words more than once. */
  const completions = (line: string): string[] =>
    [...new Set((answers.get(line) ?? []).map(bare))].sort();

  const namesOf = ({ commands }: CommandShape): string[] =>
    commands.flatMap(({ name, aliases }) => [name, ...aliases]).sort();

  it('completes commands, also from a prefix', () => {
    expect(completions('stratalog ')).toEqual(namesOf(program));
    expect(completions('stratalog lo')).toEqual(['log']);
  });

  it('completes sub-commands and their aliases', () => {
    const layer = program.commands.find(({ name }) => name === 'layer');
    expect(completions('stratalog layer ')).toEqual(namesOf(layer ?? program));
    expect(completions('stratalog layer ')).toEqual(
      expect.arrayContaining(['import', 'list', 'ls']),
    );
    expect(completions('stratalog help ')).toContain('inspect');
  });

  it.each(leaves.map((command) => [lineOf(command), command] as const))(
    'completes every flag of %s',
    (line, { options }) => {
      const flags = options.flatMap(({ long }) => (long === null ? [] : [long]));
      expect(completions(`${line} --`)).toEqual(flags.sort());
    },
  );

  it('completes the choices of a flag and of an argument', () => {
    const formats = ['directory', 'erofs', 'squashfs'];
    expect(completions('stratalog layer import --format ')).toEqual(formats);
    expect(completions('stratalog layer import --format=e')).toEqual(['erofs']);
    expect(completions('stratalog completion ')).toEqual(['bash', 'fish', 'zsh']);
  });

  it('completes event types, also after a comma', () => {
    expect(completions('stratalog log --type Daemon')).toEqual(['DaemonStarted', 'DaemonStopped']);
    expect(completions('stratalog log --type DaemonStarted,Tail')).toEqual(['TailCut']);
  });

  it('does not take the value of a flag for a command or a flag', () => {
    expect(completions('stratalog log --root log --t')).toEqual(['--to', '--type']);
    expect(completions('stratalog log --since 2026-01-31T10:00:00Z --type TailC')).toEqual([
      'TailCut',
    ]);
  });

  it('completes directories for a directory, and also files for a file', () => {
    expect(completions('stratalog layer list --layer-store ')).toEqual(['a-directory']);
    expect(completions('stratalog serve --config a')).toEqual(
      expect.arrayContaining(['a-directory', 'a-file']),
    );
  });
});

describe('stratalog completion', () => {
  it('lists the supported shells when given another one', async () => {
    const { code, stderr } = await stratalog(['completion', 'tcsh']);
    expect(code).toBe(2);
    expect(stderr).toContain('bash, zsh, fish');
  });
});
