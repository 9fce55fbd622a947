/** `ctr` of one containerd, in one namespace, with one snapshotter. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type CommandOptions, type Finished, run, runForBytes } from './command.js';

export interface CtrSettings {
  readonly binary: string;
  /** containerd's socket. */
  readonly address: string;
  readonly namespace: string;
  readonly snapshotter: string;
  /** Keeps containers of two containerds apart: runc's state, the containers' cgroups, their pipes. */
  readonly runcRoot: string;
  readonly cgroupParent: string;
  readonly fifoDirectory: string;
  /** `ctr` mounts a container's snapshot here to look up its users. */
  readonly temporaryDirectory: string;
}

export interface SnapshotRow {
  readonly key: string;
  readonly parent: string;
  readonly kind: string;
}

export interface RunOptions {
  /** Further flags of `ctr run`, such as `--uidmap`. */
  readonly flags?: readonly string[];
  readonly timeoutMillis?: number;
}

export class Ctr {
  readonly #settings: CtrSettings;

  constructor(settings: CtrSettings) {
    this.#settings = settings;
  }

  get namespace(): string {
    return this.#settings.namespace;
  }

  inNamespace(namespace: string): Ctr {
    return new Ctr({ ...this.#settings, namespace });
  }

  /** Any command: `ctr.run('images', 'ls')`. Answers its standard output. */
  async run(...args: string[]): Promise<string> {
    return (await this.finish(args)).stdout;
  }

  finish(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
    return run(this.#settings.binary, [...this.#global(), ...args], {
      ...options,
      env: { TMPDIR: this.#settings.temporaryDirectory },
    });
  }

  /** The signal ends the client in the middle of the pull. */
  async pull(reference: string, signal?: AbortSignal): Promise<void> {
    await this.finish(
      ['images', 'pull', '--plain-http', '--snapshotter', this.#settings.snapshotter, reference],
      { timeoutMillis: 120_000, ...(signal && { signal }) },
    );
  }

  /** Removes the image and waits for the garbage collection that follows. */
  async removeImage(reference: string): Promise<void> {
    await this.run('images', 'rm', '--sync', reference);
  }

  /** One round of containerd's garbage collection. What clients have removed goes only then. */
  async collectGarbage(): Promise<void> {
    await this.run('content', 'prune', 'references');
  }

  /** Runs a shell script in a fresh container, removes the container, answers what it printed. */
  async runOnce(
    reference: string,
    id: string,
    script: string,
    options: RunOptions = {},
  ): Promise<string> {
    const flags = [...this.#runFlags(id), ...(options.flags ?? [])];
    return this.#logged((logUri) =>
      this.finish(['run', '--rm', ...logUri, ...flags, reference, id, '/bin/sh', '-c', script], {
        timeoutMillis: options.timeoutMillis ?? 60_000,
      }),
    );
  }

  /** Starts a container that goes on by itself; its output goes to the file. */
  async start(
    reference: string,
    id: string,
    script: string,
    outputFile: string,
    options: RunOptions = {},
  ): Promise<void> {
    const flags = ['--detach', '--log-uri', `file://${outputFile}`, ...this.#runFlags(id)];
    await this.finish([
      'run',
      ...flags,
      ...(options.flags ?? []),
      reference,
      id,
      '/bin/sh',
      '-c',
      script,
    ]);
  }

  /** Runs a shell script in a running container, answers what it printed. */
  async exec(id: string, script: string): Promise<string> {
    const execId = `exec-${process.hrtime.bigint().toString(36)}`;
    return this.#logged((logUri) =>
      this.finish(['tasks', 'exec', '--exec-id', execId, ...logUri, id, '/bin/sh', '-c', script]),
    );
  }

  /** The container's task, or undefined when there is none. Status: `RUNNING`, `STOPPED`, … */
  async task(id: string): Promise<{ readonly pid: number; readonly status: string } | undefined> {
    const row = (await this.#rows('tasks', 'ls')).find(([name]) => name === id);
    return row && { pid: Number(row[1]), status: row[2] ?? '' };
  }

  /** Kills the container and removes it with its snapshot. Bears a container that has ended or is gone. */
  async removeContainer(id: string): Promise<void> {
    const mayFail = { mayFail: true };
    await this.finish(['tasks', 'kill', '--signal', 'SIGKILL', id], mayFail);
    await this.finish(['tasks', 'rm', '--force', id], mayFail);
    const { exitCode, stderr } = await this.finish(['containers', 'rm', id], mayFail);
    if (exitCode !== 0 && !stderr.includes('not found')) throw new Error(stderr);
  }

  async snapshots(): Promise<SnapshotRow[]> {
    const rows = await this.#rows(...this.snapshotCommand('ls'));
    return rows.map(([key = '', ...rest]) => ({
      key,
      // A parentless snapshot's row has two words.
      parent: rest.length === 2 ? (rest[0] ?? '') : '',
      kind: rest.at(-1) ?? '',
    }));
  }

  snapshotCommand(...args: string[]): string[] {
    return ['snapshots', '--snapshotter', this.#settings.snapshotter, ...args];
  }

  /** The gzipped tar of what the snapshot adds to its parent. */
  async diff(key: string): Promise<Buffer> {
    const args = [...this.#global(), ...this.snapshotCommand('diff', key)];
    return (await runForBytes(this.#settings.binary, args)).stdout;
  }

  /**
   * What a short process printed, by way of a file. Through its pipes ctr 1.6 now and then ends
   * before it has copied anything, with exit code 0. The file says why when the process fails.
   */
  async #logged(command: (logUri: readonly string[]) => Promise<unknown>): Promise<string> {
    const name = `output-${process.hrtime.bigint().toString(36)}`;
    const file = join(this.#settings.temporaryDirectory, name);
    const printed = () => readFile(file, 'utf8').catch(() => '');
    try {
      await command(['--log-uri', `file://${file}`]);
      return await printed();
    } catch (thrown) {
      const output = await printed();
      if (thrown instanceof Error && output !== '') thrown.message += `\n${output}`;
      throw thrown;
    } finally {
      await rm(file, { force: true });
    }
  }

  #global(): string[] {
    return ['--address', this.#settings.address, '--namespace', this.#settings.namespace];
  }

  #runFlags(id: string): string[] {
    const { snapshotter, runcRoot, cgroupParent, fifoDirectory } = this.#settings;
    return [
      ...['--snapshotter', snapshotter, '--runc-root', runcRoot, '--fifo-dir', fifoDirectory],
      ...['--cgroup', `${cgroupParent}/${this.#settings.namespace}-${id}`],
    ];
  }

  /** Rows below the heading, each as words. */
  async #rows(...args: string[]): Promise<string[][]> {
    const lines = (await this.run(...args)).trimEnd().split('\n').slice(1);
    return lines.map((line) => line.trim().split(/\s+/));
  }
}
