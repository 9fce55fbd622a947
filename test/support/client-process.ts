/** Runs client-program.ts: a client with a pid, and where it is asked for a mount namespace, of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Answer } from '../faults/client.js';

export interface ClientCall {
  readonly method: 'prepare' | 'view' | 'commit' | 'update' | 'mounts' | 'remove' | 'cleanup';
  readonly words: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export interface ClientProcessOptions {
  /** A program that runs the client, such as `unshare` with its flags. */
  readonly within?: readonly string[];
  /** Two clients with the same word run the same program. */
  readonly word?: string;
}

export class ClientProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
    this.#ended = new Promise((resolve) => child.once('exit', resolve));
  }

  static async start(address: string, options: ClientProcessOptions = {}): Promise<ClientProcess> {
    const { within = [], word = 'client' } = options;
    const program = `${import.meta.dirname}/client-program.ts`;
    const command = [...within, process.execPath, '--import', 'tsx', program, address, word];
    const [first = '', ...rest] = command;
    const child = spawn(first, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const client = new ClientProcess(child, lines);
    await client.#answer();
    return client;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** `ok`, or what was refused and why. */
  async outcome(method: ClientCall['method'], ...words: readonly string[]): Promise<string> {
    return inWords(await this.call({ method, words, labels: {} }));
  }

  async call(call: ClientCall): Promise<Answer<unknown>> {
    this.#child.stdin?.write(`${JSON.stringify(call)}\n`);
    return (await this.#answer()) as Answer<unknown>;
  }

  /** SIGKILL. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async #answer(): Promise<unknown> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('the client has ended');
    return JSON.parse(line.value);
  }
}

export function inWords(answer: Answer<unknown>): string {
  return answer.kind === 'answered' ? 'ok' : answer.message;
}
