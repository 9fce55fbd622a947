/**
 * The `stratalog` command without a process of its own: what it prints and how it would exit. A
 * start of Node costs more than everything a refusal does.
 */
import { vi } from 'vitest';
import { main } from '../../src/cli/main.js';
import type { Answer } from './case.js';

export interface Told extends Answer {
  readonly code: number;
  readonly stdout: string;
}

/** Longer than any refusal takes; a daemon that serves after all is stopped then, and exits 0. */
const patienceMillis = 60_000;

const signals = ['SIGTERM', 'SIGINT', 'SIGUSR2'] as const;

/** Runs one command to its end. Not to be used twice at one time: the streams are the process's. */
export async function ask(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Told> {
  const stdout = listenTo(process.stdout);
  const stderr = listenTo(process.stderr);
  const environment = { ...process.env };
  for (const name of Object.keys(process.env)) {
    if (name.startsWith('STRATALOG_')) Reflect.deleteProperty(process.env, name);
  }
  Object.assign(process.env, env);
  const listeners = signals.map((signal) => process.listeners(signal));
  // The daemon ends its process when all is closed; the code is what it would end with.
  const exit = vi.spyOn(process, 'exit').mockImplementation((code) => {
    process.exitCode = code ?? process.exitCode;
    return undefined as never;
  });
  const late = setTimeout(() => process.emit('SIGTERM'), patienceMillis);
  try {
    await main(['node', 'stratalog', ...args]);
    return { code: Number(takeExitCode()), message: stderr.heard(), stdout: stdout.heard() };
  } finally {
    clearTimeout(late);
    exit.mockRestore();
    takeExitCode();
    stdout.stop();
    stderr.stop();
    process.env = environment;
    // The process would end here; what it waited for must not be waited for by the next one.
    for (const [index, signal] of signals.entries()) {
      for (const listener of process.listeners(signal)) {
        if (listeners[index]?.includes(listener) !== true) process.off(signal, listener);
      }
    }
  }
}

function takeExitCode(): string | number {
  const code = process.exitCode ?? 0;
  process.exitCode = undefined;
  return code;
}

function listenTo(stream: NodeJS.WriteStream) {
  let text = '';
  const spy = vi.spyOn(stream, 'write').mockImplementation((chunk: unknown, ...rest: unknown[]) => {
    text += Buffer.isBuffer(chunk) ? chunk.toString() : String(chunk);
    const done = rest.at(-1);
    if (typeof done === 'function') {
      queueMicrotask(() => {
        Reflect.apply(done, null, []);
      });
    }
    return true;
  });
  const listeners = stream.listeners('error');
  const stop = (): void => {
    spy.mockRestore();
    for (const listener of stream.listeners('error')) {
      if (!listeners.includes(listener)) stream.off('error', listener as () => void);
    }
  };
  return { heard: () => text, stop };
}

/** `serve` with messages off: only how the command ends is told. */
export const serve = (root: string, address: string, ...more: readonly string[]): Promise<Told> =>
  ask(['serve', '--root', root, '--address', address, '--log-level', 'panic', ...more]);
