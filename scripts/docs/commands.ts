/** docs/reference/commands.md: every command with its flags, from the tree that parses them. */
import { everyCommand, type CommandShape } from '../../src/cli/args/command-shape.js';
import {
  blocksOf,
  describe,
  environment,
  exitCodes,
  files,
  isWorker,
  naming,
  ownOptions,
  programShape,
  synopsisOf,
  type Fact,
} from './command-facts.js';
import { code, fenced, heading, table } from './markdown.js';

export async function commands(): Promise<string> {
  const workers = [...everyCommand(await programShape())].filter(isWorker);
  return [
    heading('Commands', 'src/cli'),
    'What each command of `stratalog` takes, and how it ends; `--help` behind a command prints the same,',
    'and so does `man stratalog`. Results go to stdout, everything else to stderr. With `--json` a list is',
    'one JSON object on each line, which begins with the name of its `schema`; fields are added to it, never',
    'taken away. Tables are for people and may change.',
    '',
    table(
      ['command', 'does'],
      workers.map((command) => [
        `[${code(nameOf(command))}](#${nameOf(command).replaceAll(' ', '-')})`,
        command.description,
      ]),
    ),
    '',
    ...workers.flatMap((command) => [...sectionOf(command), '']),
    '## Naming a snapshot',
    '',
    ...naming.flatMap((paragraph) => [paragraph, '']),
    '## Exit codes',
    '',
    factTable('code', exitCodes, String),
    '',
    '## Environment',
    '',
    factTable('variable', environment, code),
    '',
    '## Files',
    '',
    factTable('file', files, code),
    '',
  ].join('\n');
}

const nameOf = ({ path }: CommandShape): string => ['stratalog', ...path].join(' ');

const factTable = (
  head: string,
  facts: readonly Fact[],
  written: (name: string) => string,
): string =>
  table(
    [head, 'means'],
    facts.map(({ name, meaning }) => [written(name), meaning]),
  );

function sectionOf(command: CommandShape): string[] {
  const { description, aliases, notes, arguments: args } = command;
  const options = ownOptions(command);
  const also = aliases.length === 0 ? '' : ` Also: ${aliases.map(code).join(', ')}.`;
  const rows = [
    ...args.map((argument) => [
      code(argument.term),
      [argument.description, ...choicesOf(argument.values)].join(': '),
    ]),
    ...options.map((option) => [code(option.flags), describe(option)]),
  ];
  return [
    `## ${nameOf(command)}`,
    '',
    fenced('text', synopsisOf(command)),
    '',
    `${sentence(description)}${also}`,
    ...(rows.length === 0
      ? []
      : ['', table([args.length > 0 ? 'argument, flag' : 'flag', 'means'], rows)]),
    ...blocksOf(notes).flatMap((block) => [
      '',
      block.kind === 'text' ? block.text : fenced('sh', block.lines.join('\n')),
    ]),
  ];
}

const choicesOf = (values: CommandShape['arguments'][number]['values']): string[] =>
  values.kind === 'words' ? [values.words.join(', ')] : [];

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
