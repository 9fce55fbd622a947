/**
 * The only path to stdout. When a command succeeds, the operating system has accepted all of its
 * output; otherwise the command fails, so that a script never mistakes a partial result for a whole.
 */
import { fstatSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { errnoOf, reasonOf } from '../../base/errors.js';
import { errnoHint } from '../../base/errno-hints.js';
import { lazy } from '../../base/lazy.js';

/** The reader of the output is gone, as with `| head`. The command exits with 141, as for SIGPIPE. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

/** The output cannot be written completely. */
export class OutputFailed extends Error {
  override readonly name = 'OutputFailed';

  constructor(cause: unknown) {
    super(`cannot write to stdout: ${reasonOf(cause)}${errnoHint(cause)}`, { cause });
  }
}

/** Writes a whole chunk, or rejects with the error of the system call. */
export interface ResultTarget {
  write(chunk: string | Uint8Array): Promise<void>;
}

/** Writes in order. After the first failure nothing is written, and every write fails with it. */
export class ResultWriter implements ResultTarget {
  readonly #target: ResultTarget;
  #failure: OutputClosed | OutputFailed | null = null;
  #last: Promise<void> = Promise.resolve();

  constructor(target: ResultTarget) {
    this.#target = target;
  }

  /** @throws OutputClosed; OutputFailed */
  async write(chunk: string | Uint8Array): Promise<void> {
    const written = this.#last.then(() => this.#write(chunk));
    this.#last = written;
    await written;
    if (this.#failure !== null) throw this.#failure;
  }

  async #write(chunk: string | Uint8Array): Promise<void> {
    if (this.#failure !== null) return;
    try {
      await this.#target.write(chunk);
    } catch (thrown) {
      const isGone = ['EPIPE', 'ECONNRESET'].includes(errnoOf(thrown) ?? '');
      this.#failure = isGone ? new OutputClosed() : new OutputFailed(thrown);
    }
  }

  /** For callers that cannot await; `settled` reports a failure. */
  post(text: string): void {
    this.write(text).catch(() => undefined);
  }

  /** Resolves when everything is written. @throws OutputClosed; OutputFailed */
  async settled(): Promise<void> {
    await this.#last;
    if (this.#failure !== null) throw this.#failure;
  }
}

/** The type of stdout is determined on first use. */
function stdoutTarget(): ResultTarget {
  const isStream = isatty(1) || fstatSync(1).isFIFO() || fstatSync(1).isSocket();
  return isStream ? streamTarget(process.stdout) : descriptorTarget(1);
}

/**
 * A file or a device. `process.stdout` would treat a short write, the last one before a disk is full,
 * as a complete one (lib/internal/fs/sync_write_stream.js of Node 20).
 */
function descriptorTarget(descriptor: number): ResultTarget {
  return {
    write: (chunk) => {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : chunk;
      return new Promise((resolve) => {
        for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
        resolve();
      });
    },
  };
}

/** The stream of a pipe, a socket or a terminal. */
export type ResultStream = Pick<NodeJS.WriteStream, 'write' | 'on' | 'off'>;

export function streamTarget(stream: ResultStream): ResultTarget {
  // The callback reports the error too; without a listener it would end the process.
  const ignore = (): void => undefined;
  return {
    write: (chunk) => {
      stream.off('error', ignore).on('error', ignore);
      return new Promise((resolve, reject) => {
        stream.write(chunk, (fault) => {
          if (fault) reject(fault);
          else resolve();
        });
      });
    },
  };
}

const target = lazy(stdoutTarget);

/** One writer per process, so that all output shares the first failure. */
export const stdout = new ResultWriter({ write: (chunk) => target().write(chunk) });
