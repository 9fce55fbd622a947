/** Runs the built command on a pseudo terminal and types keys. */
import { spawn } from 'node:child_process';
import { cliPath } from './rig.js';

export const KEYS = { enter: '\r', controlC: '\u0003', controlD: '\u0004' } as const;

export interface Shown {
  readonly code: number | null;
  /** Stdout and stderr, interleaved. */
  readonly text: string;
}

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Types the keys after the question is shown: a terminal would also accept them earlier. `meanwhile`
 * runs while the command waits for the keys.
 */
export function onTerminal(
  args: readonly string[],
  question: string,
  keys: string,
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<Shown> {
  const command = [process.execPath, cliPath, ...args].map(quoted).join(' ');
  const terminal = spawn('script', ['-qefc', command, '/dev/null'], {
    env: { PATH: process.env['PATH'] ?? '', SHELL: '/bin/sh', TERM: 'xterm', COLUMNS: '200' },
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 25_000,
  });
  let text = '';
  let isPrompted = false;
  terminal.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (isPrompted || !text.includes(question)) return;
    isPrompted = true;
    void meanwhile().then(() => terminal.stdin.write(keys));
  });
  return new Promise((resolve, reject) => {
    terminal.once('error', reject);
    terminal.once('close', (code) => {
      resolve({ code, text });
    });
  });
}
