/** The options of commands that read the configuration, and the configuration they give. */
import { Option, type Command } from 'commander';
import { defaultConfigFile, readConfigText } from '../../daemon/config/config-file.js';
import { configEntries } from '../../daemon/config/config-schema.js';
import { loadConfig, type ConfigFlags, type LoadedConfig } from '../../daemon/config/config.js';

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
