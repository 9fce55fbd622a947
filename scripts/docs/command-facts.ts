/** What the man page and the command reference tell besides the tree of commands. */
import { buildProgram } from '../../src/cli/main.js';
import { shapeOf, type CommandShape, type OptionShape } from '../../src/cli/args/command-shape.js';
import { EXIT, EXIT_MEANINGS } from '../../src/cli/exit-codes.js';
import { defaultConfigFile } from '../../src/daemon/config/config-file.js';
import { configEntries } from '../../src/daemon/config/config-schema.js';

export interface Fact {
  readonly name: string;
  readonly meaning: string;
}

export const exitCodes: readonly Fact[] = Object.entries(EXIT_MEANINGS)
  .map(([name, meaning]) => ({ code: EXIT[name as keyof typeof EXIT], meaning }))
  .sort((one, other) => one.code - other.code)
  .map(({ code, meaning }) => ({ name: String(code), meaning }));

/** How all commands that are about one snapshot take it. */
export const naming: readonly string[] = [
  "Commands about one snapshot take its number, a key or name that it ever bore, whole or without containerd's `<namespace>/<number>/`, or a digest or chain id with or without `sha256:`. The beginning of one will do, from eight characters on, also of what follows the last `/` of a key: so a container is found by the short id that `docker ps` or `crictl ps` prints. A word of fewer than eight digits is a snapshot number before it is a name; a longer one is a number only if nothing is named so.",
  'When a word fits several, the one is meant that bears it at the moment that is asked about, before those that bore it earlier: first the one whose name is the word as a whole, then any that bears it, then one that is being removed. A line on stderr says that there are others; `stratalog history --all <word>` tells of each. Where several are equally near, nothing is chosen: they are listed, and the command exits 2.',
  '`stratalog why` and `stratalog log --key` are about all that a word fits.',
];

export const environment: readonly Fact[] = [
  { name: 'STRATALOG_ROOT', meaning: 'the root, where `--root` is not given' },
  { name: 'STRATALOG_ADDRESS', meaning: "the daemon's socket, where `--address` is not given" },
  { name: 'STRATALOG_CONFIG', meaning: 'the configuration file, where `--config` is not given' },
  { name: 'STRATALOG_LOG_LEVEL', meaning: "the level of the daemon's messages" },
  { name: 'NO_COLOR', meaning: 'when it is not empty, nothing is coloured' },
  {
    name: 'FORCE_COLOR',
    meaning: '`0` or `false` for no colours; any other text for colours where no terminal is, too',
  },
  { name: 'CLICOLOR_FORCE', meaning: 'when it is neither empty nor 0, the same as FORCE_COLOR' },
  { name: 'CLICOLOR', meaning: 'when it is 0, nothing is coloured unless colours are forced' },
  { name: 'TERM', meaning: 'when it is `dumb`, nothing is coloured and no line is written over' },
];

export const files: readonly Fact[] = [
  { name: defaultConfigFile, meaning: 'the configuration' },
  { name: fallbackOf('root'), meaning: 'the root: identity, log, snapshots' },
  { name: fallbackOf('address'), meaning: 'the socket that containerd connects to' },
];

function fallbackOf(setting: string): string {
  const entry = configEntries().find(({ path }) => path.join('.') === setting);
  const fallback = entry?.kind === 'setting' ? entry.fallback : undefined;
  if (typeof fallback !== 'string') throw new Error(`no default of ${setting}`);
  return fallback;
}

/** The whole command line, with each command's own part of it. */
export async function programShape(): Promise<CommandShape> {
  return shapeOf(await buildProgram());
}

/** Commands that do something: no groups, and not commander's `help`. */
export const isWorker = ({ commands, name }: CommandShape): boolean =>
  commands.length === 0 && name !== 'help';

/** `--help` stands behind every command and needs no line in each. */
export const ownOptions = ({ options }: CommandShape): readonly OptionShape[] =>
  options.filter(({ long }) => long !== '--help');

/** The description with what else is known of the value, as the help has it. */
export function describe({ description, values, fallback, isMandatory }: OptionShape): string {
  const more = [
    ...(values.kind === 'words' && !values.isList ? [`one of ${values.words.join(', ')}`] : []),
    ...(fallback === null ? [] : [`default: ${fallback}`]),
    ...(isMandatory ? ['required'] : []),
  ];
  return more.length === 0 ? description : `${description} (${more.join('; ')})`;
}

/** `stratalog layer ls [options]` with its arguments, without the other names of it. */
export function synopsisOf(command: CommandShape): string {
  const words = ['stratalog', ...command.path];
  if (ownOptions(command).length > 0) words.push('[options]');
  return [...words, ...command.arguments.map(({ term }) => term)].join(' ');
}

/** A part of what a help says behind the options. */
export type Block =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'examples'; readonly lines: readonly string[] };

/** Lines that are moved in are examples; the others are text. A heading of examples goes. */
export function blocksOf(notes: string): Block[] {
  const blocks: Block[] = [];
  for (const part of notes.split(/\n{2,}/)) {
    let text: string[] = [];
    let lines: string[] = [];
    const end = (): void => {
      if (text.length > 0) blocks.push({ kind: 'text', text: text.join(' ') });
      if (lines.length > 0) blocks.push({ kind: 'examples', lines });
      text = [];
      lines = [];
    };
    for (const line of part.split('\n')) {
      const isExample = line.startsWith('  ');
      if (isExample ? text.length > 0 : lines.length > 0) end();
      if (isExample) lines.push(line.slice(2));
      else if (line !== '' && line !== 'Examples:') text.push(line.trim());
    }
    end();
  }
  return blocks;
}
