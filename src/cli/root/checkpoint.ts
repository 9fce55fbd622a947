/** `stratalog checkpoint`: writes a checkpoint, so that the next startup replays few records. */
import { Command } from 'commander';
import { heldRootHelp, withHeldRoot } from './held-root.js';
import { withOutput, type Output } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly json?: true;
}

export function checkpointCommand(): Command {
  return withRootOption(new Command('checkpoint'))
    .description('write a checkpoint of a stopped root, to speed up the next startup')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
${heldRootHelp}
The daemon writes checkpoints periodically and on shutdown. Use this command after the daemon was
killed, or before \`stratalog compact\`.

Examples:
  stratalog checkpoint --root /var/lib/stratalog`,
    )
    .action((flags: Flags) => withOutput({}, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const { position, snapshots } = await withHeldRoot(root, 'checkpoint', async (held) => {
    const at = await held.takeCheckpoint();
    return { position: at, snapshots: held.replay.forest.cut().size };
  });
  if (flags.json === true) await out.json('checkpoint', { root, position, snapshots });
  else await out.line(`checkpoint at position ${position}, of ${snapshots} snapshots`);
}
