/**
 * Faults of the world: the operating system refused, a time limit passed. Refusals (the client
 * asked for something impossible) are values, not errors; broken invariants are in assert.ts.
 */

/** An operating-system call failed. `code` is the errno's name (`ENOSPC`), `path` what it was about. */
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

/** Something did not answer within its time limit. What was asked may still happen. */
export class TimeLimitPassed extends Error {
  override readonly name = 'TimeLimitPassed';
  readonly limitMillis: number;

  constructor(what: string, limitMillis: number) {
    super(`${what} did not finish within ${limitMillis} ms`);
    this.limitMillis = limitMillis;
  }
}

/** The work was not even begun: its kind has no free place, or hangs for the same thing already. */
export class NotBegun extends Error {
  override readonly name = 'NotBegun';
}

/** A native module cannot be loaded by this Node.js. The message names the command that helps. */
export class ModuleUnusable extends Error {
  override readonly name = 'ModuleUnusable';
}

/** The log can no longer be written; the daemon serves reads until it exits. */
export class LogReadOnly extends Error {
  override readonly name = 'LogReadOnly';
}

/** The disk of the log is full: what room is left in it is for those who make room. */
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
 * The configuration, the root or the arguments are not usable. The message says what was wrong,
 * where, and what to do next; commands print it without a stack.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Any thrown value as one line for a log line, an event's reason or a reply. */
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

/** Whether a system call failed for want of room, which says nothing of what was tried. */
export function isWantOfRoom(thrown: unknown): boolean {
  const code = errnoOf(thrown);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
