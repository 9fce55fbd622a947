/** Why a worker thread cannot start or has died, in words that say what to do. */
import { errnoOf, HostFault, reasonOf } from '../../base/errors.js';

/**
 * The fault of a job whose thread could not start, or died while it ran. The code is EAGAIN if the
 * system has no thread to give now, and else EOWNERDEAD: never the errno of the cause, which a
 * caller would take for the result of the job (ENOENT: its directory is gone).
 */
export function threadFault(
  job: { readonly name: string; readonly path: string },
  cause: Error,
  phase: 'start' | 'run',
): HostFault {
  const { reason, isShortage } = explained(cause);
  const code = isShortage ? 'EAGAIN' : 'EOWNERDEAD';
  const fault = new HostFault(job.name, job.path, code, { cause });
  const what = `${job.name} ${job.path}`;
  fault.message =
    phase === 'start'
      ? `${what}: its worker thread did not start: ${reason}`
      : `${what}: its worker thread died: ${reason}`;
  return fault;
}

/** For health and the log. */
export function threadReason(cause: Error, phase: 'start' | 'run'): string {
  const what = phase === 'start' ? 'a worker thread did not start' : 'a worker thread died';
  return `${what}: ${explained(cause).reason}`;
}

function explained(cause: Error): { readonly reason: string; readonly isShortage: boolean } {
  const text = reasonOf(cause);
  const code = errnoOf(cause) ?? '';
  if (code === 'ERR_WORKER_INIT_FAILED') {
    return {
      reason: `${text}; raise the limit of threads: TasksMax= of the unit, pids.max of the cgroup, or ulimit -u`,
      isShortage: true,
    };
  }
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return {
      reason: `${text}; give it more memory (MemoryMax= of the unit), or ask for less at once`,
      isShortage: true,
    };
  }
  if (text.includes('uv_cwd')) {
    return {
      reason: `the working directory was deleted (${text}); run it from another one`,
      isShortage: false,
    };
  }
  if (isMissingFile(code)) {
    return {
      reason: `its program is missing (${text}): the installation was removed or replaced; restart to use the new one`,
      isShortage: false,
    };
  }
  return { reason: text, isShortage: false };
}

const isMissingFile = (code: string): boolean =>
  ['ENOENT', 'MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'].includes(code);
