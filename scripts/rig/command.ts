/** Runs other programs to their end, with a time limit, and says what went wrong in one error. */
import { execFile } from 'node:child_process';

export interface Finished {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface CommandOptions {
  readonly timeoutMillis?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Written to standard input, which is then closed. */
  readonly input?: string;
  /** Answer with the exit code instead of throwing. A passed time limit still throws. */
  readonly mayFail?: boolean;
  /** Ends the program at once. */
  readonly signal?: AbortSignal;
}

class CommandFailed extends Error {
  override readonly name = 'CommandFailed';
  readonly exitCode: number | null;
  readonly stderr: string;

  constructor(commandLine: string, why: string, exitCode: number | null, stderr: string) {
    super(`${commandLine}\n  ${why}${stderr === '' ? '' : `\n${stderr.trimEnd()}`}`);
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

const defaultTimeoutMillis = 60_000;
const outputBytesMax = 64 * 1024 * 1024;

/** Standard output and error as text. Rejects with CommandFailed. */
export async function run(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Finished> {
  const finished = await runForBytes(program, args, options);
  return { ...finished, stdout: finished.stdout.toString() };
}

/** As `run`, for programs whose output is not text. */
export function runForBytes(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<{ stdout: Buffer; stderr: string; exitCode: number }> {
  const timeout = options.timeoutMillis ?? defaultTimeoutMillis;
  const commandLine = [program, ...args].join(' ');
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      {
        encoding: 'buffer',
        timeout,
        killSignal: 'SIGKILL',
        maxBuffer: outputBytesMax,
        env: { ...process.env, ...options.env },
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.signal && { signal: options.signal }),
      },
      (error, stdout, stderr) => {
        const text = stderr.toString();
        if (error === null) {
          resolve({ stdout, stderr: text, exitCode: 0 });
        } else if (typeof error.code === 'number' && options.mayFail === true) {
          resolve({ stdout, stderr: text, exitCode: error.code });
        } else {
          const exitCode = typeof error.code === 'number' ? error.code : null;
          const limit = `it was stopped: its time limit is ${timeout / 1000} s`;
          const why = error.killed === true ? limit : `ended with ${error.code ?? error.message}`;
          reject(new CommandFailed(commandLine, why, exitCode, text));
        }
      },
    );
    // A program that does not read its input may have closed it already.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
  });
}
