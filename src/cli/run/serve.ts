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
        await slowDown(exitCodeOf(thrown), defaultAddress);
        throw thrown;
      });
      // The configuration is the last that may be named by a relative path.
      process.chdir('/');
      const { logger, flushed } = openLogger({ ...config.log, clock: systemClock() });
      logger.debug({ file }, 'configuration read');
      await lockModuleLoads(logger);
      // Only this command needs the whole service; the others start faster without it.
      const { runDaemon } = await import('../../daemon/daemon.js');
      const running = runDaemon({ config, logger, environment: process.env });
      const end = await running.catch(async (thrown: unknown) => {
        const code = exitCodeOf(thrown);
        await slowDown(code, config.address, (fields, message) => {
          logger.error({ ...fields, error: thrown }, message);
        });
        // An ordinary exit would wait for threads that hang.
        const hangs = threadsLeftHanging() > 0;
        if (hangs) logger.fatal({ error: thrown }, 'the daemon cannot start, and threads hang');
        if (!(await flushed()) || hangs) endProcess(code);
        throw thrown;
      });
      await slowDown(end.code, config.address, (fields, message) => logger.error(fields, message));
      // An ordinary exit would try for ever to write what stderr does not take, and wait for
      // threads that may hang for ever.
      const hangs = !(await flushed()) || end.hangs;
      if (end.code === EXIT.broken || hangs) endProcess(end.code);
      // Whatever a client or a library has left open: the daemon is closed.
      process.exit(end.code);
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

/**
 * Exit codes with which packaging/stratalog.service is started again. With a socket of systemd's
 * it is after each: a connection that waits in the socket starts it, whatever the unit says.
 */
const restarted: ReadonlySet<number> = new Set([EXIT.failed, EXIT.locked, EXIT.broken]);

/** Waits before the exit if failures follow each other, and a service manager would start again. */
async function slowDown(
  code: number,
  address: string,
  report: (fields: Readonly<Record<string, unknown>>, message: string) => void = reportPlainly,
): Promise<void> {
  if (!isStartedAgain(code)) return;
  const { failuresPath, recordFailure, waitAfter } = await import('../../daemon/crash-loop.js');
  const failures = await recordFailure(failuresPath(address, process.env));
  const millis = waitAfter(failures);
  if (millis === 0) return;
  report(
    { code, failures, waitSeconds: millis / 1000 },
    'the daemon has failed again; it waits before it exits, so that it is not restarted at once',
  );
  notify(process.env['NOTIFY_SOCKET'], { status: 'failed; waiting before the exit' });
  await delay(millis);
}

function isStartedAgain(code: number): boolean {
  const { env, pid } = process;
  if (code === EXIT.ok) return false;
  if (passedSockets(env, pid).length > 0) return true;
  const isManaged = Number(env['SYSTEMD_EXEC_PID']) === pid || (env['NOTIFY_SOCKET'] ?? '') !== '';
  return isManaged && restarted.has(code);
}

function reportPlainly(fields: Readonly<Record<string, unknown>>, message: string): void {
  process.stderr.write(`stratalog: ${message} ${JSON.stringify(fields)}\n`);
}
