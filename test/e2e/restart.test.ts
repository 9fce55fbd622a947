/**
 * Goal: a crash of the daemon costs the calls in flight and no others. Method: a real containerd
 * that calls without pause, and a parent of the daemon that does what systemd does: it holds the
 * socket, and starts the daemon again after RestartSec. The daemon is killed twenty times.
 *
 * grpc-go gives a new connection one second to show the server's first frame, and then fails the
 * calls that wait for it. So the daemon is scheduled before all else: what other work the
 * machine does must not decide whether it keeps to that.
 */
import { credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ActivatedDaemon } from '../../scripts/rig/activated-daemon.js';
import { PrivateContainerd } from '../../scripts/rig/containerd.js';
import { Daemon } from '../../scripts/rig/daemon.js';
import { until } from '../../scripts/rig/wait.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { SnapshotsClient } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';

const crashes = 20;
const callers = 4;

let workspace: Workspace;
let daemon: ActivatedDaemon;
let client: SnapshotsClient;

beforeEach(async () => {
  workspace = await Workspace.create('stratalog-restart-');
  const { serveCommand, root } = Daemon.stratalog(workspace);
  daemon = new ActivatedDaemon({ workspace, command: serveCommand, root, isRealTime: true });
  daemon.start();
  await daemon.serving();
  const containerd = await PrivateContainerd.start({
    workspace,
    pluginAddress: daemon.address,
    pluginRoot: root,
  });
  client = new SnapshotsClient(`unix:${containerd.address}`, credentials.createInsecure());
  workspace.onClose(() => {
    client.close();
    return Promise.resolve();
  });
});

// Whatever of it was started.
afterEach(() => workspace.close());

interface Call {
  readonly what: string;
  readonly hadBegunAtCrash: boolean;
  readonly fault: ServiceError;
}

it('fails the calls in flight at once, and none that begins after the crash', async () => {
  const load = new Load();
  for (let crash = 1; crash <= crashes; crash += 1) {
    await until('calls are answered', () => load.isBusy());
    // Stopped before it is killed, so that calls are in flight: once they have failed, containerd
    // has noticed, and does not send the next one to the daemon that is gone.
    process.kill(daemon.pid, 'SIGSTOP');
    await until('all callers wait for an answer', () => load.isStuck());
    load.pause();
    await daemon.crash();
    // None hangs.
    await load.settled();
    load.resume();
  }
  await until('calls are answered', () => load.isBusy());
  await load.end();
  expect(load.failed.filter((call) => !call.hadBegunAtCrash)).toEqual([]);
  expect(new Set(load.failed.map(({ fault }) => fault.code))).toEqual(
    new Set([status.UNAVAILABLE]),
  );
  // Nothing that was acknowledged is lost: what the failed calls have left is all there is.
  const listed = await keys();
  expect(listed.filter((key) => load.removed.has(key))).toEqual([]);
  expect([...load.prepared].filter((key) => !listed.includes(key))).toEqual([]);
}, 300_000);

/** Callers that make a snapshot, look at it and remove it, again and again. */
class Load {
  readonly failed: Call[] = [];
  /** Acknowledged, and not asked to be removed. */
  readonly prepared = new Set<string>();
  readonly removed = new Set<string>();
  #inFlight = 0;
  /** Since the last crash. */
  #answered = 0;
  #crashes = 0;
  #isPaused = false;
  #isEnding = false;
  readonly #callers = Array.from({ length: callers }, (_each, number) => this.#call(number));

  isBusy(): boolean {
    return this.#answered > 2 * callers;
  }

  isStuck(): boolean {
    return this.#inFlight === callers;
  }

  pause(): void {
    this.#isPaused = true;
    this.#crashes += 1;
  }

  async settled(): Promise<void> {
    await until('all calls have settled', () => this.#inFlight === 0, { pauseMillis: 1 });
  }

  resume(): void {
    this.#answered = 0;
    this.#isPaused = false;
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#callers);
  }

  async #call(caller: number): Promise<void> {
    for (let number = 0; !this.#isEnding; number += 1) {
      const key = `caller-${caller}-${number}`;
      const isPrepared = await this.#one(`prepare ${key}`, (done) =>
        client.prepare(
          { snapshotter: 'stratalog', key, parent: '', labels: isKept },
          inNamespace(),
          done,
        ),
      );
      if (!isPrepared) continue;
      this.prepared.add(key);
      await this.#one(`stat ${key}`, (done) =>
        client.stat({ snapshotter: 'stratalog', key }, inNamespace(), done),
      );
      this.prepared.delete(key);
      const isRemoved = await this.#one(`remove ${key}`, (done) =>
        client.remove({ snapshotter: 'stratalog', key }, inNamespace(), done),
      );
      if (isRemoved) this.removed.add(key);
    }
  }

  async #one(
    what: string,
    begin: (done: (fault: ServiceError | null) => void) => unknown,
  ): Promise<boolean> {
    await until('the crash is over', () => !this.#isPaused, { pauseMillis: 1 });
    const crashes = this.#crashes;
    this.#inFlight += 1;
    const fault = await new Promise<ServiceError | null>((resolve) => begin(resolve));
    this.#inFlight -= 1;
    if (fault === null) this.#answered += 1;
    else this.failed.push({ what, fault, hadBegunAtCrash: this.#crashes > crashes });
    return fault === null;
  }
}

/** containerd's garbage collector removes what nothing refers to. */
const isKept = new Map([['containerd.io/gc.root', 'test']]);

function inNamespace(): Metadata {
  const metadata = new Metadata();
  metadata.set('containerd-namespace', 'default');
  return metadata;
}

function keys(): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const found: string[] = [];
    const call = client.list({ snapshotter: 'stratalog', filters: [] }, inNamespace());
    call.on('data', ({ info }: { info: readonly { name: string }[] }) => {
      found.push(...info.map(({ name }) => name));
    });
    call.on('error', reject);
    call.on('end', () => resolve(found));
  });
}
