/** The built command on a pseudo terminal, with somebody at the keys. */
import { spawn } from 'node:child_process';
import { cliPath } from './rig.js';

export const KEYS = { enter: '\r', controlC: '\u0003', controlD: '\u0004' } as const;

export interface Shown {
  readonly code: number | null;
  /** All that came on the terminal, stdout and stderr as they came. */
  readonly text: string;
}

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Types the keys when the question is shown, and not before: a terminal takes keys at any time.
 * `meanwhile` happens while the command waits for them.
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
  let isAsked = false;
  terminal.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (isAsked || !text.includes(question)) return;
    isAsked = true;
    void meanwhile().then(() => terminal.stdin.write(keys));
  });
  return new Promise((resolve, reject) => {
    terminal.once('error', reject);
    terminal.once('close', (code) => {
      resolve({ code, text });
    });
  });
}
