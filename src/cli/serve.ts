/** `stratalog serve`: the proxy plugin. */
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { type Logger, openLogger } from '../api/logger.js';
import { ModuleUnusable } from '../base/errors.js';
import { systemClock } from '../host/clock.js';
import { endProcess } from '../host/limits.js';
import { lockModule } from '../host/lock-module.js';
import { notify } from '../host/notify.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { configOf, withConfigOptions } from './config.js';

export function serveCommand(): Command {
  return withConfigOptions(new Command('serve'))
    .description('serve the snapshotter to containerd on a unix socket')
    .action(async (_options: unknown, command: Command) => {
      const { config, file } = await configOf(command);
      const { logger, flushed } = openLogger({ ...config.log, clock: systemClock() });
      logger.debug({ file }, 'configuration read');
      await lockModuleLoads(logger);
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

const rebuiltPollMillis = 2_000;

/**
 * After an upgrade of Node.js to another release line, a native module has to be built again. An
 * exit would not help: systemd would start the daemon again, with the same result.
 */
async function lockModuleLoads(logger: Logger): Promise<void> {
  for (let isWaiting = false; ; isWaiting = true) {
    try {
      lockModule();
      if (isWaiting) logger.info('the module loads now');
      return;
    } catch (thrown) {
      if (!(thrown instanceof ModuleUnusable)) throw thrown;
      if (!isWaiting) logger.fatal({ error: thrown }, 'the daemon waits until the module loads');
      notify(process.env['NOTIFY_SOCKET'], { status: thrown.message });
    }
    await delay(rebuiltPollMillis);
  }
}
