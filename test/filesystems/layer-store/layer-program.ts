/** `stratalog layer …` alone, with the exit codes that the whole program gives. */
import { CommanderError } from 'commander';

import { UsageError } from '../../../src/base/errors.js';
import { layerCommand } from '../../../src/cli/layers/layer.js';

try {
  await layerCommand().exitOverride().parseAsync(process.argv);
} catch (thrown) {
  if (!(thrown instanceof CommanderError)) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
  }
  process.exitCode = thrown instanceof UsageError ? 2 : 1;
}
