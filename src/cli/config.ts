/** `stratalog config`: print a sample, check a file, print containerd's side. Opens no root. */
import { Command, Option } from 'commander';
import { UsageError } from '../base/errors.js';
import {
  describeOrigin,
  loadConfig,
  type ConfigFlags,
  type ConfigSource,
  type LoadedConfig,
} from '../api/config.js';
import { defaultConfigFile, readConfigText } from '../api/config-file.js';
import { configEntries } from '../api/config-schema.js';
import { whyNoIdMappingHere } from '../api/id-mapping.js';
import {
  containerdConfigText,
  containerdLines,
  defaultConfigText,
  type ContainerdLine,
} from '../api/config-text.js';
import { EXIT } from './exit-codes.js';
import { stdout } from './result-writer.js';

/** Flags that stand for settings; everything else is set in the file. */
const settingFlags: readonly {
  readonly flags: string;
  readonly setting: string;
  readonly help: string;
}[] = [
  { flags: '--root <dir>', setting: 'root', help: 'where the log and the layers live' },
  { flags: '-a, --address <socket>', setting: 'address', help: 'the unix socket' },
  { flags: '--log-level <level>', setting: 'log.level', help: 'the least that is told on stderr' },
  { flags: '--log-format <format>', setting: 'log.format', help: 'how it is told' },
  {
    flags: '--layer-store <dir>',
    setting: 'layer_store',
    help: 'a directory of layers that need not be pulled',
  },
  {
    flags: '--async-remove',
    setting: 'async_remove',
    help: 'leave removed directories to Cleanup',
  },
  {
    flags: '--accept-moved-root',
    setting: 'accept_moved_root',
    help: 'accept, once, that the root is on another file system than before',
  },
  {
    flags: '--metrics-address <address>',
    setting: 'metrics_address',
    help: 'host:port or a socket path for /metrics',
  },
  {
    flags: '--debug-address <socket>',
    setting: 'debug_address',
    help: 'a socket path for /debug',
  },
];

/** Adds `--config` and the flags that stand for settings. */
export function withConfigOptions(command: Command): Command {
  command.option('-c, --config <file>', `configuration file (default: ${defaultConfigFile})`);
  for (const { flags, setting, help } of settingFlags) {
    const option = new Option(flags, help);
    const choices = choicesOf(setting);
    // Told, not enforced: the configuration says itself what is wrong with a value, and where.
    if (choices.length > 0) option.argChoices = choices;
    command.addOption(option);
  }
  return command;
}

function choicesOf(setting: string): string[] {
  const entry = configEntries().find(({ path }) => path.join('.') === setting);
  return entry?.kind === 'setting' ? [...entry.choices] : [];
}

/**
 * The configuration for a command that was given `withConfigOptions`.
 *
 * @param root the one that is meant, absolute, in place of what `--root` says
 */
export function configOf(command: Command, root?: string): Promise<LoadedConfig> {
  const given = command.opts<Record<string, unknown>>();
  const flags = new Map<string, string | boolean>();
  for (const { flags: written, setting } of settingFlags) {
    const value = given[new Option(written).attributeName()];
    if (typeof value === 'string' || typeof value === 'boolean') flags.set(setting, value);
  }
  if (root !== undefined) flags.set('root', root);
  const configFile = given['config'];
  return loadWith(flags, typeof configFile === 'string' ? configFile : undefined);
}

function loadWith(flags: ConfigFlags, configFile: string | undefined): Promise<LoadedConfig> {
  return loadConfig({
    configFile,
    flags,
    env: process.env,
    readFile: readConfigText,
  });
}

/** The `config` command with its sub-commands. Results go to stdout, mistakes to stderr. */
export function configCommand(): Command {
  const command = new Command('config').description('print, check and explain the configuration');
  command
    .command('default')
    .description('print a configuration file with every setting, its default and its meaning')
    .action(() => stdout.write(defaultConfigText()));
  withConfigOptions(command.command('check'))
    .description('check the configuration and tell where each changed setting comes from')
    .option('--json', 'print one JSON object')
    .action((_options, self: Command) => check(self));
  withConfigOptions(command.command('containerd'))
    .description("print containerd's side of the configuration")
    .addOption(
      new Option('--containerd-version <line>', 'line of containerd')
        .choices([...containerdLines])
        .default('2.x'),
    )
    .option('--name <name>', "the plugin's name in containerd", 'stratalog')
    .action(async (_options, self: Command) => {
      const { config } = await configOf(self);
      const { containerdVersion, name } = self.opts<{
        containerdVersion: ContainerdLine;
        name: string;
      }>();
      const whyNoIdMapping = await whyNoIdMappingHere(config);
      const side = { name, line: containerdVersion, whyNoIdMapping };
      await stdout.write(containerdConfigText(config, side));
    });
  return command;
}

/** Exits 2, as serve does, when the configuration is wrong; a named file that is missing is wrong too. */
async function check(command: Command): Promise<void> {
  const asJson = command.opts<{ json?: boolean }>().json === true;
  try {
    const loaded = await configOf(command);
    await stdout.write(asJson ? checkedJson(loaded) : checkedText(loaded));
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    process.stderr.write(`${thrown.message}\n`);
    if (asJson) {
      const mistakes = thrown.message.split('\n');
      await stdout.write(`${JSON.stringify({ schema: checkSchema, ok: false, mistakes })}\n`);
    }
    process.exitCode = EXIT.usage;
  }
}

const checkSchema = 'stratalog.config-check/v1';

const changed = ({ sources }: LoadedConfig): ConfigSource[] =>
  sources.filter((source) => !source.isDefault);

function checkedText(loaded: LoadedConfig): string {
  const read = loaded.file ?? `no file (${defaultConfigFile} does not exist)`;
  const lines = changed(loaded).map(
    (source) =>
      `${source.setting} = ${JSON.stringify(source.value)}  (${describeOrigin(source.origin)})`,
  );
  const rest = lines.length > 0 ? 'all else has its default' : 'everything has its default';
  return `${[`${read}: ok`, ...lines, rest].join('\n')}\n`;
}

function checkedJson(loaded: LoadedConfig): string {
  const settings = changed(loaded).map(({ setting, value, origin }) => ({
    setting,
    value,
    origin,
  }));
  return `${JSON.stringify({ schema: checkSchema, ok: true, file: loaded.file, settings })}\n`;
}
