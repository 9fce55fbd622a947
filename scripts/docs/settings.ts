/** docs/reference/settings.md: every setting with its default, from the schema that checks them. */
import { defaultConfigFile } from '../../src/daemon/config/config-file.js';
import { configEntries } from '../../src/daemon/config/config-schema.js';
import { code, heading, table } from './markdown.js';

export function settings(): string {
  const rows = configEntries().map((entry) =>
    entry.kind === 'group'
      ? [`**${code(entry.path.join('.'))}**`, '', entry.description]
      : [code(entry.path.join('.')), written(entry.fallback), entry.description],
  );
  return [
    heading('Settings', 'src/daemon/config/config-schema.ts'),
    `The file is TOML and is read from \`${defaultConfigFile}\`, from where \`--config\` says, or from`,
    'where the environment variable `STRATALOG_CONFIG` says. Flags come before the environment',
    '(`STRATALOG_ROOT`, `STRATALOG_ADDRESS`, `STRATALOG_LOG_LEVEL`), that before the file, that before',
    'the defaults. A dot in a name is a table: `log.level` is `level` below `[log]`. A name that is not',
    'known is an error. `stratalog config default` prints the file with all of this in it;',
    '`stratalog config check` says what is wrong with yours and where each changed value comes from.',
    '',
    'Times are written `"500ms"`, `"10s"`, `"1m30s"`, `"2h"`, `"90d"`; sizes `"512KiB"`, `"16MiB"`, `"1GiB"`.',
    '',
    table(['setting', 'default', 'meaning'], rows),
    '',
  ].join('\n');
}

/** As it would stand in the file. */
function written(fallback: unknown): string {
  return fallback === undefined ? '–' : code(JSON.stringify(fallback));
}
