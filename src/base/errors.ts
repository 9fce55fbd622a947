/**
 * External failures: a system call failed, a time limit was exceeded. Refusals (a client requested
 * something impossible) are values, not errors; broken invariants are in assert.ts.
 */

/** A system call failed. `code` is the errno's name (`ENOSPC`), `path` the subject of the call. */
export class HostFault extends Error {
  override readonly name = 'HostFault';
  readonly operation: string;
  readonly path: string;
  readonly code: string;

  constructor(operation: string, path: string, code: string, options?: ErrorOptions) {
    super(`${operation} ${path}: ${code}`, options);
    this.operation = operation;
    this.path = path;
    this.code = code;
  }
}

/** A time limit was exceeded. The operation may still complete. */
export class TimeLimitPassed extends Error {
  override readonly name = 'TimeLimitPassed';
  readonly limitMillis: number;

  constructor(what: string, limitMillis: number) {
    super(`${what} did not finish within ${limitMillis} ms`);
    this.limitMillis = limitMillis;
  }
}

/** The operation was not started: there is no free slot, or an earlier one on the subject hangs. */
export class NotBegun extends Error {
  override readonly name = 'NotBegun';
}

/**
 * The error of an effect as it was recorded: its name, its message and the errno. Thrown to the
 * caller, so that log and reply agree.
 */
export class EffectFailed extends Error {
  override readonly name: string;
  readonly code: string | undefined;

  constructor(name: string, message: string, code?: string) {
    super(message);
    this.name = name;
    this.code = code;
  }
}

/** This Node.js cannot load a native module. The message has the command that fixes it. */
export class ModuleUnusable extends Error {
  override readonly name = 'ModuleUnusable';
}

/** The log can no longer be written; the daemon serves reads until it exits. */
export class LogReadOnly extends Error {
  override readonly name = 'LogReadOnly';
}

/** The disk of the log is full: the reserved space is for removals, which free space. */
export class LogShortOfRoom extends Error {
  override readonly name = 'LogShortOfRoom';

  constructor(cause: unknown) {
    super(
      `the log has room for removals only until its disk has some: ${reasonOf(cause)}; ` +
        'remove snapshots, or make room by other means',
      { cause },
    );
  }
}

/**
 * The configuration, the root or the arguments are invalid. The message has the fault, its location
 * and what to do; commands print it without a stack.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The message of any thrown value, for a log line, an event's reason or a reply. */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  return String(thrown);
}

/** The errno name of a Node or host error, or undefined. */
export function errnoOf(thrown: unknown): string | undefined {
  if (thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string') {
    return thrown.code;
  }
  return undefined;
}

/** Whether a system call failed because of a full disk or quota. */
export function isOutOfSpace(thrown: unknown): boolean {
  const code = errnoOf(thrown);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
