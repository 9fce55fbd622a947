/** One thread of the pool as the event loop sees it: how it starts, is told, answers and dies. */
import { createRequire } from 'node:module';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { pathToFileURL } from 'node:url';
import { signal } from './job-module.js';
import type { JobMessage, JobReply, ThreadSetup } from './job-module.js';

export interface ThreadEvents {
  answered(reply: JobReply): void;
  /** The thread is gone without having been ended: a crash, or no memory. */
  died(cause: Error): void;
}

const youngMegabytes = 2;

export class WorkerThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #signals = new Int32Array(
    new SharedArrayBuffer(signal.places * Int32Array.BYTES_PER_ELEMENT),
  );
  #ended = false;

  constructor(events: ThreadEvents) {
    const channel = new MessageChannel();
    this.#port = channel.port1;
    const setup: ThreadSetup = { port: channel.port2, signals: this.#signals };
    this.#worker = new Worker(entry(), {
      workerData: setup,
      transferList: [channel.port2],
      // Node would warn of each descriptor that a library call opened and fs.closeSync closes.
      trackUnmanagedFds: false,
      // Jobs make little garbage: with the usual young generation it would pile up to many times this.
      resourceLimits: { maxYoungGenerationSizeMb: youngMegabytes },
    });
    this.#port.on('message', (reply: JobReply) => {
      events.answered(reply);
    });
    let cause: Error | undefined;
    this.#worker.on('error', (error) => {
      cause = error instanceof Error ? error : new Error(String(error));
    });
    this.#worker.on('exit', (code) => {
      this.#port.close();
      if (!this.#ended) events.died(cause ?? new Error(`the thread ended with code ${code}`));
    });
    this.#worker.unref();
    this.#port.unref();
  }

  /** While a job runs, its answer keeps the process alive. */
  send(message: JobMessage): void {
    this.#port.ref();
    this.#port.postMessage(message);
    Atomics.add(this.#signals, signal.messages, 1);
    Atomics.notify(this.#signals, signal.messages);
  }

  /** Nobody waits for an answer now: the process may end. */
  rest(): void {
    this.#port.unref();
  }

  tellAborted(job: number): void {
    Atomics.store(this.#signals, signal.abortedJob, job);
  }

  /** Ends the thread. Resolves only when it is gone: never, while a system call of it hangs. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#worker.terminate();
  }
}

/**
 * The thread's program: the built file beside this one or, when this file itself runs from its
 * TypeScript source (tests), that source, with tsx made to load in the thread what it loads here.
 */
function entry(): URL {
  if (!import.meta.url.endsWith('.ts')) return new URL('./worker-main.js', import.meta.url);
  // `--import tsx` does nothing in a thread, and the resolver of require() names the CommonJS twin.
  const found = createRequire(import.meta.url)
    .resolve('tsx/esm/api')
    .replace(/\.cjs$/, '.mjs');
  const program = [
    `import { register } from ${JSON.stringify(pathToFileURL(found).href)};`,
    'register();',
    `await import(${JSON.stringify(new URL('./worker-main.ts', import.meta.url).href)});`,
  ].join('\n');
  return new URL(`data:text/javascript,${encodeURIComponent(program)}`);
}
