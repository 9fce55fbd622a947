/** One thread of the pool as the event loop sees it: how it starts, is told, answers and dies. */
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { pathToFileURL } from 'node:url';
import { signal, threadReady } from './job-module.js';
import type { JobMessage, JobReply, ThreadSetup } from './job-module.js';
import { programText } from './thread-programs.js';

export interface ThreadEvents {
  /** It runs its program. A thread that dies before that has begun no job. */
  ready(): void;
  answered(reply: JobReply): void;
  /** The thread is gone without having been ended: a crash, or no memory. */
  died(cause: Error): void;
}

const youngMegabytes = 2;
const loadingPauseMillis = 5;

export class WorkerThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #signals = new Int32Array(
    new SharedArrayBuffer(signal.places * Int32Array.BYTES_PER_ELEMENT),
  );
  /** Modules whose program it has. */
  readonly #modules = new Set<string>();
  #ended = false;

  /** @throws Error if the system refuses a thread (ERR_WORKER_INIT_FAILED), HostFault */
  constructor(events: ThreadEvents) {
    const channel = new MessageChannel();
    this.#port = channel.port1;
    try {
      this.#worker = startWorker({ port: channel.port2, signals: this.#signals });
    } catch (thrown) {
      this.#port.close();
      throw thrown;
    }
    this.#port.on('message', (message: JobReply | typeof threadReady) => {
      if (message === threadReady) events.ready();
      else events.answered(message);
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

  /** While a job runs, thread and answer keep the process alive: also if the thread dies. */
  send(message: Omit<JobMessage, 'program'>): void {
    const { moduleUrl } = message;
    const program = this.#modules.has(moduleUrl) ? null : programText(moduleUrl);
    this.#port.postMessage({ ...message, program } satisfies JobMessage);
    this.#modules.add(moduleUrl);
    this.#worker.ref();
    this.#port.ref();
    Atomics.add(this.#signals, signal.messages, 1);
    Atomics.notify(this.#signals, signal.messages);
  }

  /** Nobody waits for an answer now: the process may end. */
  rest(): void {
    this.#worker.unref();
    this.#port.unref();
  }

  tellAborted(job: number): void {
    Atomics.store(this.#signals, signal.abortedJob, job);
  }

  /** Ends the thread. Resolves only when it is gone: never, while a system call of it hangs. */
  async end(): Promise<void> {
    this.#ended = true;
    Atomics.store(this.#signals, signal.ending, 1);
    // See worker-main.ts: loading takes some milliseconds, and cannot be interrupted.
    while (Atomics.load(this.#signals, signal.loading) === 1) await delay(loadingPauseMillis);
    await this.#worker.terminate();
  }
}

/** @throws as the constructor does */
function startWorker(setup: ThreadSetup): Worker {
  const program = programText(mainModule.href);
  // As text it is no file that Node.js would have to find.
  const [entry, isText] =
    program === null
      ? ([moduleEntry(), false] as const)
      : ([Buffer.from(program).toString('latin1'), true] as const);
  return new Worker(entry, {
    eval: isText,
    workerData: setup,
    transferList: [setup.port],
    // What the command line preloads by a relative name would not be found from another directory.
    execArgv: [],
    // Node would warn of each descriptor that a library call opened and fs.closeSync closes.
    trackUnmanagedFds: false,
    // Jobs make little garbage: with the usual young generation it would pile up to many times this.
    resourceLimits: { maxYoungGenerationSizeMb: youngMegabytes },
  });
}

const mainModule = new URL('./worker-main.js', import.meta.url);

/**
 * The built file beside this one or, when this file itself runs from its TypeScript source
 * (tests), that source, with tsx made to load in the thread what it loads here.
 */
function moduleEntry(): URL {
  if (!import.meta.url.endsWith('.ts')) return mainModule;
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
