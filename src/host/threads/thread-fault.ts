/** Explains why a worker thread failed to start or died, and what to do. */
import { errnoOf, HostFault, reasonOf } from '../../base/errors.js';

/**
 * The fault of a job whose thread failed to start or died. The code is EAGAIN if the system cannot
 * start a thread now, otherwise EOWNERDEAD. It is never the errno of the cause, which a caller
 * would take for the result of the job (ENOENT: the directory does not exist).
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
      ? `${what}: worker thread failed to start: ${reason}`
      : `${what}: worker thread died: ${reason}`;
  return fault;
}

/** For health and the log. */
export function threadReason(cause: Error, phase: 'start' | 'run'): string {
  const what = phase === 'start' ? 'worker thread failed to start' : 'worker thread died';
  return `${what}: ${explained(cause).reason}`;
}

function explained(cause: Error): { readonly reason: string; readonly isShortage: boolean } {
  const text = reasonOf(cause);
  const code = errnoOf(cause) ?? '';
  if (code === 'ERR_WORKER_INIT_FAILED') {
    return {
      reason: `${text}; raise the thread limit: TasksMax= of the unit, pids.max of the cgroup, or ulimit -u`,
      isShortage: true,
    };
  }
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return {
      reason: `${text}; allow more memory (MemoryMax= of the unit) or request less at once`,
      isShortage: true,
    };
  }
  if (text.includes('uv_cwd')) {
    return {
      reason: `the working directory was deleted (${text}); run from another directory`,
      isShortage: false,
    };
  }
  if (isMissingFile(code)) {
    return {
      reason: `program file missing (${text}): the installation was removed or replaced; restart to use the new one`,
      isShortage: false,
    };
  }
  return { reason: text, isShortage: false };
}

const isMissingFile = (code: string): boolean =>
  ['ENOENT', 'MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'].includes(code);
