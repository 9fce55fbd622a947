/** `stratalog config`: prints and checks configurations, and does not open a root. */
import { Command, Option } from 'commander';
import { UsageError } from '../../base/errors.js';
import {
  describeOrigin,
  type ConfigSource,
  type LoadedConfig,
} from '../../daemon/config/config.js';
import { defaultConfigFile } from '../../daemon/config/config-file.js';
import { whyNoIdMappingHere } from '../../api/root/id-mapping.js';
import {
  containerdConfigText,
  containerdLines,
  defaultConfigText,
  type ContainerdLine,
} from '../../daemon/config/config-text.js';
import { configOf, withConfigOptions } from '../args/config-options.js';
import { EXIT } from '../exit-codes.js';
import { stdout } from '../terminal/result-writer.js';

/** The `config` command with its sub-commands. Results go to stdout, errors to stderr. */
export function configCommand(): Command {
  const command = new Command('config').description('print and check the configuration');
  command
    .command('default')
    .description('print a configuration file with all settings, their defaults and descriptions')
    .action(() => stdout.write(defaultConfigText()));
  withConfigOptions(command.command('check'))
    .description('check the configuration, and show the origin of each setting that is not default')
    .option('--json', 'print one JSON object')
    .action((_options, self: Command) => check(self));
  withConfigOptions(command.command('containerd'))
    .description('print the configuration for containerd')
    .addOption(
      new Option('--containerd-version <line>', 'release line of containerd')
        .choices([...containerdLines])
        .default('2.x'),
    )
    .option('--name <name>', 'name of the snapshotter in containerd', 'stratalog')
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

/** Exits 2, as serve does, if the configuration is invalid or a given file does not exist. */
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
  const rest =
    lines.length > 0
      ? 'all other settings have their defaults'
      : 'all settings have their defaults';
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
