/** Facts for the man page and the command reference that are not in the tree of commands. */
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

/** How commands about one snapshot identify it. */
export const naming: readonly string[] = [
  "Commands about one snapshot take its id, any key or name that it ever had, with or without containerd's `<namespace>/<number>/`, or a digest or chain ID, with or without `sha256:`. A prefix of at least eight characters is enough, also of the part after the last `/` of a key: a container is found by the short id that `docker ps` or `crictl ps` prints. A number of fewer than eight digits is taken as a snapshot id first; a longer one is taken as an id only if no name matches.",
  'If several snapshots match, those that have the name at the given moment take precedence over those that had it earlier: first an exact match, then any match, then a snapshot that is being removed. A message on stderr reports the other matches; `stratalog history --all <name>` shows each of them. If several match equally well, they are listed, and the command exits with 2.',
  '`stratalog why` and `stratalog log --key` include all matches.',
];

export const environment: readonly Fact[] = [
  { name: 'STRATALOG_ROOT', meaning: 'the root, if `--root` is not given' },
  { name: 'STRATALOG_ADDRESS', meaning: 'the socket of the daemon, if `--address` is not given' },
  { name: 'STRATALOG_CONFIG', meaning: 'the configuration file, if `--config` is not given' },
  { name: 'STRATALOG_LOG_LEVEL', meaning: 'the minimum level of log messages of the daemon' },
  { name: 'NO_COLOR', meaning: 'if not empty, disables colors' },
  {
    name: 'FORCE_COLOR',
    meaning: '`0` or `false` disables colors; any other value enables them even without a terminal',
  },
  { name: 'CLICOLOR_FORCE', meaning: 'if neither empty nor 0, the same as FORCE_COLOR' },
  { name: 'CLICOLOR', meaning: 'if 0, disables colors unless they are forced' },
  { name: 'TERM', meaning: 'if `dumb`, disables colors and redrawing of lines' },
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

/** The whole command line as a tree. */
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
