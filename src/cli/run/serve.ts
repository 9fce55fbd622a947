/** `stratalog serve`: the proxy plugin. */
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { defaultAddress } from '../../daemon/config/config-file.js';
import { type Logger, openLogger } from '../../daemon/observe/logger.js';
import { ModuleUnusable } from '../../base/errors.js';
import { systemClock } from '../../host/process/clock.js';
import { endProcess } from '../../host/process/limits.js';
import { lockModule } from '../../host/files/lock-module.js';
import { notify } from '../../host/process/notify.js';
import { passedSockets } from '../../host/process/sockets.js';
import { threadsLeftHanging } from '../../host/threads/workers.js';
import { EXIT, exitCodeOf } from '../exit-codes.js';
import { configOf, withConfigOptions } from '../args/config-options.js';

export function serveCommand(): Command {
  return withConfigOptions(new Command('serve'))
    .description('serve the snapshotter to containerd on a unix socket')
    .action(async (_options: unknown, command: Command) => {
      const { config, file } = await configOf(command).catch(async (thrown: unknown) => {
        await delayRestart(exitCodeOf(thrown), defaultAddress);
        throw thrown;
      });
      // Relative paths are resolved: only the configuration may use them.
      process.chdir('/');
      const { logger, flushed } = openLogger({ ...config.log, clock: systemClock() });
      logger.debug({ file }, 'configuration read');
      await lockModuleLoads(logger);
      // Loaded on demand: only this command needs the service.
      const { runDaemon } = await import('../../daemon/daemon.js');
      const running = runDaemon({ config, logger, environment: process.env });
      const end = await running.catch(async (thrown: unknown) => {
        const code = exitCodeOf(thrown);
        await delayRestart(code, config.address, (fields, message) => {
          logger.error({ ...fields, error: thrown }, message);
        });
        // A regular exit would wait for hung threads.
        const hangs = threadsLeftHanging() > 0;
        if (hangs) logger.fatal({ error: thrown }, 'the daemon cannot start, and threads hang');
        if (!(await flushed()) || hangs) endProcess(code);
        throw thrown;
      });
      await delayRestart(end.code, config.address, (fields, message) =>
        logger.error(fields, message),
      );
      // A regular exit would wait forever for a blocked stderr and for hung threads.
      const hangs = !(await flushed()) || end.hangs;
      if (end.code === EXIT.broken || hangs) endProcess(end.code);
      // The daemon is closed; handles left open by clients or libraries must not delay the exit.
      process.exit(end.code);
    });
}

const rebuiltPollMillis = 2_000;

/**
 * Waits until the native module loads. It must be rebuilt after an upgrade of Node.js to another
 * release line; an exit would only make systemd restart the daemon with the same result.
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

/**
 * The exit codes after which packaging/stratalog.service restarts the daemon. With socket activation
 * it is restarted after every exit, by the connections that wait on the socket.
 */
const restarted: ReadonlySet<number> = new Set([EXIT.failed, EXIT.locked, EXIT.broken]);

/** Delays the exit after repeated failures, if a service manager would restart the daemon at once. */
async function delayRestart(
  code: number,
  address: string,
  report: (fields: Readonly<Record<string, unknown>>, message: string) => void = reportPlainly,
): Promise<void> {
  if (!willBeRestarted(code)) return;
  const { failuresPath, recordFailure, waitAfter } = await import('../../daemon/crash-loop.js');
  const failures = await recordFailure(failuresPath(address, process.env));
  const millis = waitAfter(failures);
  if (millis === 0) return;
  report(
    { code, failures, waitSeconds: millis / 1000 },
    'the daemon has failed repeatedly; delaying the exit to slow down restarts',
  );
  notify(process.env['NOTIFY_SOCKET'], { status: 'failed; waiting before the exit' });
  await delay(millis);
}

function willBeRestarted(code: number): boolean {
  const { env, pid } = process;
  if (code === EXIT.ok) return false;
  if (passedSockets(env, pid).length > 0) return true;
  const isManaged = Number(env['SYSTEMD_EXEC_PID']) === pid || (env['NOTIFY_SOCKET'] ?? '') !== '';
  return isManaged && restarted.has(code);
}

function reportPlainly(fields: Readonly<Record<string, unknown>>, message: string): void {
  process.stderr.write(`stratalog: ${message} ${JSON.stringify(fields)}\n`);
}
