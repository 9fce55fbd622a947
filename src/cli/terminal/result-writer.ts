/**
 * The one path to stdout. Whatever a command prints has either been taken by the operating system
 * when the command ends, or the command fails: a script must never take a part for the whole.
 */
import { fstatSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { errnoOf, reasonOf } from '../../base/errors.js';
import { errnoHint } from '../../base/errno-hints.js';
import { lazy } from '../../base/lazy.js';

/** The reader of the output is gone, as `| head` is. A quiet end: exit code 141, as of SIGPIPE. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

/** The output cannot be written, or not whole. */
export class OutputFailed extends Error {
  override readonly name = 'OutputFailed';

  constructor(cause: unknown) {
    super(`cannot write to stdout: ${reasonOf(cause)}${errnoHint(cause)}`, { cause });
  }
}

/** Where results go: the whole chunk, or a rejection with what the system reported. */
export interface ResultTarget {
  write(chunk: string | Uint8Array): Promise<void>;
}

/** Keeps to the first failure: what follows it is not written, and fails alike. */
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

  /** For callers that cannot wait; `settled` reports how it ended. */
  post(text: string): void {
    this.write(text).catch(() => undefined);
  }

  /** Resolves when all is written. @throws OutputClosed; OutputFailed */
  async settled(): Promise<void> {
    await this.#last;
    if (this.#failure !== null) throw this.#failure;
  }
}

/** Of this process; where it leads to is looked at when it is first used. */
function stdoutTarget(): ResultTarget {
  const isStream = isatty(1) || fstatSync(1).isFIFO() || fstatSync(1).isSocket();
  return isStream ? streamTarget(process.stdout) : descriptorTarget(1);
}

/**
 * A file or a device. Not through `process.stdout`: that takes a short write, the last one before a
 * disk is full, for a whole one (lib/internal/fs/sync_write_stream.js of Node 20).
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

/** What a pipe, a socket or a terminal is written through. */
export type ResultStream = Pick<NodeJS.WriteStream, 'write' | 'on' | 'off'>;

export function streamTarget(stream: ResultStream): ResultTarget {
  // The callback reports the same; an error without a listener would end the process.
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

/** Of this process: one stream, and one first failure of it. */
export const stdout = new ResultWriter({ write: (chunk) => target().write(chunk) });
