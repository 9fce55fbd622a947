/** A process that connects thousands of times, says nothing or next to nothing, and never hangs up. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** In the process: a hundred at a time, since a full queue in the kernel refuses. */
const script = `
const { connect } = require('node:net');
const { readdirSync } = require('node:fs');
const [, path, count] = process.argv;
const held = [];
let begun = 0;
function open(number) {
  let connected = false;
  // Our end stays open when the server has closed its own.
  const socket = connect({ path, allowHalfOpen: true });
  socket.on('connect', () => {
    connected = true;
    held.push(socket);
    if (number % 8 === 0) socket.write('PRI * HTTP');
    if (held.length < Number(count)) next();
    else process.stdout.write(readdirSync('/proc/self/fd').length + '\\n');
  });
  socket.on('error', () => {
    if (!connected) setTimeout(open, 5, number);
  });
}
function next() {
  if (begun === Number(count)) return;
  begun += 1;
  open(begun);
}
for (let lane = 0; lane < 100; lane += 1) next();
process.stdin.resume();
process.stdin.on('end', () => process.exit());
`;

export class HalfOpen {
  readonly #child: ChildProcess;
  /** All have been connected at one time. How many descriptors the process holds then. */
  readonly all: Promise<number>;
  settled = false;

  constructor(path: string, count: number) {
    const limit = `--nofile=${count + 200}:${count + 200}`;
    const argv = [limit, process.execPath, '-e', script, path, String(count)];
    const child = spawn('prlimit', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    this.all = Promise.race([
      once(child.stdout, 'data').then(([text]) => Number(text)),
      once(child, 'exit').then(([code]) => {
        throw new Error(`the process with the connections ended with ${code}`);
      }),
    ]);
    const settle = (): void => {
      this.settled = true;
    };
    this.all.then(settle, settle);
  }

  /** All at once, by the kernel. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}
