/** A remote file system that does what a test tells it, a look at what is left, and neighbours. */
import { expect } from 'vitest';
import { defaultPolicies } from '../../../src/effects/policies.js';
import { startupPlan } from '../../../src/inspect/startup/startup-plan.js';
import { replayRoot } from '../../../src/inspect/archive/replay-root.js';
import type { FileSystem } from '../../../src/filesystems/contract.js';
import type { Host } from '../../../src/host/host.js';
import { TARGET_LABEL } from '../../../src/machines/labels.js';
import type { Result } from '../../../src/base/result.js';
import type { Labels } from '../../../src/base/units.js';
import type { Refusal } from '../../../src/machines/refusals.js';
import type { BindFileSystem } from '../../support/bind-file-system.js';
import { told, until, valueOf, type TestDaemon } from '../../support/daemon.js';

export const REF = 'sha256:bad';
export const READY = 'AlreadyExists TargetReady';
export const LOST = 'Unavailable LayerNotAvailable';

/** A call that hangs is let go of soon, and a good one has time on a busy machine. */
const limit = { timeLimitMillis: 2000, backoffMillis: 20, backoffMillisMax: 40 };
export const policies = {
  ...defaultPolicies,
  mountRemote: { ...defaultPolicies.mountRemote, ...limit, concurrency: 3, waitLimitMillis: 100 },
  checkLayer: { ...defaultPolicies.checkLayer, ...limit },
  restoreLayer: { ...defaultPolicies.restoreLayer, ...limit, backoffMillis: 60_000 },
  removeDirectories: { ...defaultPolicies.removeDirectories, retries: 1, backoffMillis: 20 },
  removeRemote: { ...defaultPolicies.removeRemote, ...limit, retries: 1 },
};

/** What a deed has at hand. */
export interface Scene {
  readonly mountpoint: string;
  readonly host: Host;
  readonly signal: AbortSignal;
  /** What a good file system would do here. */
  readonly properly: () => Promise<void>;
  /** Resolves when the test lets go of what hangs. */
  readonly held: () => Promise<void>;
}

/** Replaces one call; may throw before it answers a promise. */
export type Deed = (scene: Scene) => Promise<void>;

export interface Deeds {
  readonly mount?: Deed;
  readonly check?: Deed;
  readonly unmount?: Deed;
}

/** Does its deeds to one layer, and serves all others as the bind file system does. */
export class Unruly implements FileSystem {
  readonly name = 'unruly';
  deeds: Deeds = {};
  #mountpoints = new Set<string>();
  readonly #held: (() => void)[] = [];

  constructor(
    readonly ref: string,
    private readonly good: BindFileSystem,
    private readonly host: Host,
  ) {}

  mount(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const properly = () => this.good.mount(mountpoint, labels, signal);
    if (labels.get(TARGET_LABEL) !== this.ref) return properly();
    this.#mountpoints.add(mountpoint);
    return this.#do(this.deeds.mount, mountpoint, signal, properly);
  }

  check(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void> {
    const properly = () => this.good.check(mountpoint, labels);
    if (labels.get(TARGET_LABEL) !== this.ref) return properly();
    this.#mountpoints.add(mountpoint);
    return this.#do(this.deeds.check, mountpoint, signal, properly);
  }

  unmount(mountpoint: string, signal: AbortSignal): Promise<void> {
    const properly = () => this.good.unmount(mountpoint);
    if (!this.#mountpoints.has(mountpoint)) return properly();
    return this.#do(this.deeds.unmount, mountpoint, signal, properly);
  }

  /** What hangs goes on now; what is asked from now on is done properly. */
  heal(): void {
    this.deeds = {};
    for (const release of this.#held.splice(0)) release();
  }

  get hanging(): number {
    return this.#held.length;
  }

  #do(
    deed: Deed | undefined,
    mountpoint: string,
    signal: AbortSignal,
    properly: () => Promise<void>,
  ): Promise<void> {
    if (deed === undefined) return properly();
    const held = () => new Promise<void>((resolve) => this.#held.push(resolve));
    return deed({ mountpoint, host: this.host, signal, properly, held });
  }
}

/** What `stratalog inspect` would find now, by kind and in order. */
export async function findingsOf(daemon: TestDaemon): Promise<string[]> {
  const { host, root } = daemon;
  const { replay } = await replayRoot(host.disk, root.path);
  const snapshotsPath = root.snapshots;
  const plan = await startupPlan(replay.forest, { ...host, snapshotsPath, isLive: false });
  return plan.findings.map(({ kind }) => kind).sort();
}

/** Removals end in the background: the findings are these, now or soon. */
export async function expectFindings(
  daemon: TestDaemon,
  expected: readonly string[],
): Promise<void> {
  let found: readonly string[] = [];
  const isSo = async (): Promise<boolean> => {
    found = await findingsOf(daemon);
    return JSON.stringify(found) === JSON.stringify(expected);
  };
  await until(`the findings are ${expected.join()}`, isSo).catch(() => undefined);
  expect(found).toEqual(expected);
}

let neighbours = 0;

/**
 * What other clients do meanwhile: an ordinary layer, a child on it, a remote layer, and all of it
 * removed again. Answers what they were told.
 */
export async function neighboursGoOn(daemon: TestDaemon, ref: string): Promise<string[]> {
  const name = `neighbour-${(neighbours += 1)}`;
  await daemon.layer(name);
  const labels = new Map([[TARGET_LABEL, ref]]);
  const answers: Result<unknown, Refusal>[] = [
    await daemon.prepare(`${name} child`, name),
    await daemon.prepare(`${name} remote`, name, labels),
    await daemon.mounts(`${name} child`),
    await daemon.usage(name),
  ];
  const remote = valueOf(daemon.snapshotter.list([`parent==${name}`]));
  for (const info of [...remote]) answers.push(await daemon.remove(info.name));
  answers.push(await daemon.remove(name));
  return answers.map(told);
}

/** What they are told when nothing is the matter. */
export const goneOnWell = ['ok', 'AlreadyExists TargetReady', 'ok', 'ok', 'ok', 'ok', 'ok'];
