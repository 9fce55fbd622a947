/** One thread of the pool, seen from the event loop. */
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { pathToFileURL } from 'node:url';
import { signal, threadReady } from './job-module.js';
import type { JobMessage, JobReply, ThreadSetup } from './job-module.js';
import { programText } from './thread-programs.js';

export interface ThreadEvents {
  /** The thread accepts jobs. One that dies before this has not begun any job. */
  ready(): void;
  answered(reply: JobReply): void;
  /** The thread ended by itself: a crash, or out of memory. */
  died(cause: Error): void;
}

const youngMegabytes = 2;
const loadingPauseMillis = 5;
/** Jobs look several times a second whether they are aborted. */
const endPatienceMillis = 500;

export class WorkerThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #signals = new Int32Array(
    new SharedArrayBuffer(signal.length * Int32Array.BYTES_PER_ELEMENT),
  );
  /** Modules whose program the thread has. */
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

  /** Keeps the process alive until the job has a reply or the thread dies. */
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

  /** Lets the process exit: no caller is waiting for a reply. */
  unref(): void {
    this.#worker.unref();
    this.#port.unref();
  }

  signalAbort(job: number): void {
    Atomics.store(this.#signals, signal.abortedJob, job);
  }

  /**
   * Asks the thread to end after its job, and terminates it if it does not. Never resolves while the
   * thread hangs in a system call.
   */
  async end(): Promise<void> {
    this.#ended = true;
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    Atomics.store(this.#signals, signal.ending, 1);
    Atomics.add(this.#signals, signal.messages, 1);
    Atomics.notify(this.#signals, signal.messages);
    // See worker-main.ts: a thread that is terminated in a library call aborts the process.
    const patience = new AbortController();
    const limit = delay(endPatienceMillis, undefined, { signal: patience.signal });
    await Promise.race([exited, limit]);
    patience.abort();
    limit.catch(() => undefined);
    while (Atomics.load(this.#signals, signal.loading) === 1) await delay(loadingPauseMillis);
    await this.#worker.terminate();
  }
}

/** @throws as the constructor */
function startWorker(setup: ThreadSetup): Worker {
  const program = programText(mainModule.href);
  // A program in memory is passed as text, so that Node.js does not read a file.
  const [entry, isText] =
    program === null
      ? ([moduleEntry(), false] as const)
      : ([Buffer.from(program).toString('latin1'), true] as const);
  return new Worker(entry, {
    eval: isText,
    workerData: setup,
    transferList: [setup.port],
    // Relative preloads of the command line would fail from another directory.
    execArgv: [],
    // Node would warn of each descriptor that a library call opened and fs.closeSync closes.
    trackUnmanagedFds: false,
    // Jobs allocate little; with the default young generation, garbage would use many times this.
    resourceLimits: { maxYoungGenerationSizeMb: youngMegabytes },
  });
}

const mainModule = new URL('./worker-main.js', import.meta.url);

/**
 * The built file next to this one. In tests, which run the TypeScript source, a program that
 * registers tsx in the thread and loads the source.
 */
function moduleEntry(): URL {
  if (!import.meta.url.endsWith('.ts')) return mainModule;
  // `--import tsx` has no effect in a thread, and require.resolve() returns the CommonJS file.
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
