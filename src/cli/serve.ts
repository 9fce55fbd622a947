/** `stratalog serve`: the proxy plugin. */
import { Command } from 'commander';
import { openLogger } from '../api/logger.js';
import { systemClock } from '../host/clock.js';
import { endProcess } from '../host/limits.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
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
      const running = runDaemon({ config, logger, environment: process.env });
      const end = await running.catch(async (thrown: unknown) => {
        if (!(await flushed())) endProcess(exitCodeOf(thrown));
        throw thrown;
      });
      process.exitCode = end.code;
      // An ordinary exit would try for ever to write what stderr does not take, and wait for
      // threads that may hang for ever.
      const hangs = !(await flushed()) || end.hangingThreads > 0;
      if (end.code === EXIT.broken || hangs) endProcess(end.code);
    });
}
