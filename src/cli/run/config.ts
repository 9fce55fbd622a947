/** `stratalog config`: print a sample, check a file, print containerd's side. Opens no root. */
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
