/** `stratalog serve`: the proxy plugin. */
import { Command } from 'commander';
import { openLogger } from '../api/logger.js';
import { systemClock } from '../host/clock.js';
import { endProcess } from '../host/limits.js';
import { EXIT } from './exit-codes.js';
import { configOf, withConfigOptions } from './config.js';

export function serveCommand(): Command {
  return withConfigOptions(new Command('serve'))
    .description('serve the snapshotter to containerd on a unix socket')
    .action(async (_options: unknown, command: Command) => {
      const { config, file } = await configOf(command);
      const { logger, flushed } = openLogger({ ...config.log, clock: systemClock() });
      logger.debug({ file }, 'configuration read');
      // Only this command needs the whole service; the others start faster without it.
      const { runDaemon } = await import('../api/daemon.js');
      let isWritten = true;
      const end = await runDaemon({ config, logger, environment: process.env }).finally(
        async () => {
          isWritten = await flushed();
        },
      );
      process.exitCode = end.code;
      // An ordinary exit would wait for threads that may hang for ever: those that work, and the
      // one that writes to stderr.
      const hangs = end.hangingThreads > 0 || !isWritten;
      if (end.code === EXIT.broken || hangs) endProcess(end.code);
    });
}
