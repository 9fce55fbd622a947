/** Options of commands that read the configuration, and the resulting configuration. */
import { Option, type Command } from 'commander';
import { defaultConfigFile, readConfigText } from '../../daemon/config/config-file.js';
import { configEntries } from '../../daemon/config/config-schema.js';
import { loadConfig, type ConfigFlags, type LoadedConfig } from '../../daemon/config/config.js';

/** Flags that override settings; all other settings are set in the file only. */
const settingFlags: readonly {
  readonly flags: string;
  readonly setting: string;
  readonly help: string;
}[] = [
  { flags: '--root <dir>', setting: 'root', help: 'directory of the log and the snapshots' },
  { flags: '-a, --address <socket>', setting: 'address', help: 'unix socket to serve on' },
  { flags: '--log-level <level>', setting: 'log.level', help: 'minimum level of log messages' },
  { flags: '--log-format <format>', setting: 'log.format', help: 'format of log messages' },
  {
    flags: '--layer-store <dir>',
    setting: 'layer_store',
    help: 'directory of layers that are served without a pull',
  },
  {
    flags: '--async-remove',
    setting: 'async_remove',
    help: 'defer the removal of directories to Cleanup',
  },
  {
    flags: '--accept-moved-root',
    setting: 'accept_moved_root',
    help: 'accept once that the root has moved to another file system',
  },
  {
    flags: '--metrics-address <address>',
    setting: 'metrics_address',
    help: 'host:port or unix socket for /metrics',
  },
  {
    flags: '--debug-address <socket>',
    setting: 'debug_address',
    help: 'unix socket for /debug',
  },
];

/** Adds `--config` and the flags that override settings. */
export function withConfigOptions(command: Command): Command {
  command.option('-c, --config <file>', `configuration file (default: ${defaultConfigFile})`);
  for (const { flags, setting, help } of settingFlags) {
    const option = new Option(flags, help);
    const choices = choicesOf(setting);
    // Shown, not enforced: the configuration reports an invalid value and where it was set.
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
 * The configuration for a command that has `withConfigOptions`.
 *
 * @param root absolute; overrides `--root`
 */
export function configOf(command: Command, root?: string): Promise<LoadedConfig> {
  const options = command.opts<Record<string, unknown>>();
  const flags = new Map<string, string | boolean>();
  for (const { flags: spelling, setting } of settingFlags) {
    const value = options[new Option(spelling).attributeName()];
    if (typeof value === 'string' || typeof value === 'boolean') flags.set(setting, value);
  }
  if (root !== undefined) flags.set('root', root);
  const configFile = options['config'];
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
