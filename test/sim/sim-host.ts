/**
 * The simulated machine: what outlives the daemon (disk, directories, mounts, remote layers) and
 * the daemon that runs on it, which is the real one. It can be started, stopped, killed, and have
 * its power cut; and it holds the first rule that the daemon breaks.
 */
import { reasonOf } from '../../src/base/errors.js';
import type { SnapshotId, SnapshotName } from '../../src/base/units.js';
import { defaultPolicies, type EffectPolicies } from '../../src/effects/policies.js';
import type { DaemonEventData } from '../../src/machines/events/daemon-events.js';
import type { SnapshotInfo } from '../../src/machines/snapshots/info.js';
import { openSnapshotter, type OpenedSnapshotter } from '../../src/snapshotter/startup/open.js';
import type { SnapshotterSettings } from '../../src/snapshotter/settings.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import type { Random } from '../support/random.js';
import { Life } from './life.js';
import { mappedNames, neededClones } from '../support/idmapped-needs.js';
import { SimClients } from './sim-clients.js';
import { SimClock } from './sim-clock.js';
import { DirectoryTree, SimDirectories, type DirectoryRules } from './sim-directories.js';
import { SimDisk } from './sim-disk.js';
import { SimIdmapped, type IdmappedDirectories, type IdmappedRules } from './sim-idmapped.js';
import {
  HostMounts,
  RemoteLayers,
  SimFileSystem,
  SimMountTable,
  type RemoteRules,
} from './sim-mounts.js';
import { Violation } from './violation.js';
import { Weather } from './weather.js';
import { Witness } from './witness.js';

export const ROOT = '/root';
export const REFS = ['sha256:a', 'sha256:b', 'sha256:c', 'sha256:d'] as const;

/** Few places, so that one that is never given back is missed soon. */
const policies: EffectPolicies = {
  ...defaultPolicies,
  prepareDirectories: { ...defaultPolicies.prepareDirectories, concurrency: 3 },
  mountRemote: { ...defaultPolicies.mountRemote, concurrency: 3 },
  makeDurable: { ...defaultPolicies.makeDurable, concurrency: 3 },
  restoreLayer: { ...defaultPolicies.restoreLayer, concurrency: 2 },
  removeRemote: { ...defaultPolicies.removeRemote, concurrency: 2 },
  checkLayer: { ...defaultPolicies.checkLayer, concurrency: 3 },
  measureUsage: { ...defaultPolicies.measureUsage, concurrency: 2 },
};

type SetAsideData = DaemonEventData<'DirectoriesSetAside'>;

export type HostState = 'down' | 'starting' | 'serving';

export class SimHost implements DirectoryRules, RemoteRules, IdmappedRules {
  readonly clock = new SimClock();
  readonly weather: Weather;
  readonly witness = new Witness(ROOT);
  readonly tree = new DirectoryTree(`${ROOT}/snapshots`);
  readonly mounts = new HostMounts();
  readonly idmapped: IdmappedDirectories = new Set();
  readonly layers = new RemoteLayers(REFS);
  readonly clients: SimClients;
  readonly settings: Omit<SnapshotterSettings, 'mounts'>;
  disk = new FaultyDisk([ROOT]);
  state: HostState = 'down';
  opened: OpenedSnapshotter | null = null;
  life: Life;
  /** The first rule that was broken. */
  broken: Violation | null = null;
  /** The log has failed, and the daemon is about to exit. */
  hasFailed = false;
  /** How many lives there were. */
  lives = 0;

  readonly #random: Random;
  readonly #trace: (line: string) => void;
  readonly #segmentBytes: number;
  readonly #checkedAt = new Map<string, number>();
  #isRecovering = false;
  /** Records of the witness that were looked at. */
  #observed = 0;
  #powerCuts = 0;

  constructor(random: Random, trace: (line: string) => void) {
    this.#random = random.fork('host');
    this.#trace = trace;
    this.weather = new Weather(random.fork('weather'));
    this.clients = new SimClients(random.fork('clients'), this.clock);
    this.#segmentBytes = this.#random.pick([4096, 8192, 65_536]);
    this.settings = {
      asynchronousRemove: this.#random.chance(0.4),
      durability: this.#random.chance(0.8) ? 'data' : 'metadata',
      upperdirLabel: false,
      preallocatedDirectories: this.#random.pick([0, 2, 6]),
      policies,
      failureLimit: { failures: 20, withinMillis: 60_000 },
      checkpointEveryEvents: this.#random.pick([15, 60, 10_000]),
      historyCheckpointEveryEvents: 100,
      retainMillis: this.#random.pick([null, null, 0, 60_000]),
    };
    this.life = this.#newLife();
  }

  /** Directories that were promised to nobody: the setting says so. */
  get mayHaveLostDirectories(): boolean {
    return this.settings.durability === 'metadata' && this.#powerCuts > 0;
  }

  /** Snapshots with mapped ids that must be mountable, as far as no directory is lost. */
  mappedNames(): readonly SnapshotName[] {
    return this.mayHaveLostDirectories ? [] : mappedNames(this.witness.truth.forest);
  }

  get isBusy(): boolean {
    return this.life.isBusy;
  }

  /** What List shows; nothing while the daemon does not serve. */
  infos(): readonly SnapshotInfo[] {
    const listed = this.opened?.snapshotter.list([]);
    return listed?.ok === true ? [...listed.value] : [];
  }

  advance(millis: number, isEnough?: () => boolean): Promise<void> {
    return this.clock.advance(millis, () => this.isBusy, isEnough);
  }

  /** Begins to start the daemon; it serves, or has failed to start, some time later. */
  start(): void {
    const life = this.#newLife();
    const isCalm = this.weather.isCalm;
    this.life = life;
    this.state = 'starting';
    this.hasFailed = false;
    this.#trace(`start ${this.lives}`);
    this.clients.daemonStarts();
    this.disk.plan = (operation) => this.weather.diskFault(operation);
    void this.#open(life).then(
      (opened) => {
        if (life.isAlive) this.#serve(life, opened);
      },
      (thrown: unknown) => {
        if (!life.isAlive) return;
        this.#trace(`start failed: ${String(thrown)}`);
        life.isAlive = false;
        this.state = 'down';
        // The world may refuse; what was found on the disk must never be a reason.
        const isOfTheWorld =
          thrown instanceof Error && /^(HostFault|LogReadOnly)$/.test(thrown.name);
        // One that began before the calm may report a fault of that time.
        if (!isOfTheWorld || isCalm) this.break(`the start failed: ${String(thrown)}`);
        this.disk = this.disk.afterKill();
      },
    );
  }

  /** SIGKILL: what was written stays, mounts stay, nobody gets an answer. */
  kill(): void {
    this.#trace('kill');
    this.#end();
    this.disk = this.disk.afterKill();
  }

  powerCut(): void {
    this.#trace('power cut');
    this.#powerCuts += 1;
    this.#end();
    const random = this.#random.fork(`cut ${this.lives}`);
    // Now and then all that was not synced is gone, which is more than chance would take.
    const takesAll = random.chance(0.3);
    this.disk = this.disk.powerCut(() => (takesAll ? 0.99 : random.next()));
    this.tree.powerCut(random);
    this.mounts.clear();
  }

  /** SIGTERM. */
  async stop(): Promise<void> {
    const { opened, life } = this;
    if (opened === null) return;
    this.#trace('stop');
    const over = { is: false };
    const ends = (thrown: unknown) => {
      over.is = true;
      if (thrown !== null && this.weather.isCalm)
        this.break(`the stop failed: ${reasonOf(thrown)}`);
    };
    opened.close('the run says so').then(() => ends(null), ends);
    await this.advance(600_000, () => over.is);
    if (!over.is) this.break('the stop does not end');
    life.isAlive = false;
    this.#end();
    this.disk = this.disk.afterKill();
  }

  /** Keeps the first violation; later ones follow from it. */
  break(message: string): void {
    if (this.broken === null) this.#trace(`BROKEN ${message}`);
    this.broken ??= new Violation(message);
  }

  /** Brings the witness up to what is durable now. */
  observe(): void {
    try {
      this.witness.catchUp(this.disk);
    } catch (thrown) {
      this.break(String(thrown));
    }
    this.#checkSetAside();
  }

  /** No disk lies here, so only what a mount left behind can be in use without an owner. */
  #checkSetAside(): void {
    const { records } = this.witness;
    for (; this.#observed < records.length; this.#observed += 1) {
      const record = records[this.#observed];
      if (record?.type !== 'DirectoriesSetAside') continue;
      for (const { name, evidence } of (record.data as SetAsideData).directories) {
        if (evidence !== 'fs holds litter') this.break(`${name} is set aside: ${evidence}`);
      }
    }
  }

  mayPrepare(id: SnapshotId, signal?: AbortSignal): void {
    if (signal?.aborted === true) return;
    this.observe();
    // What the daemon does not know to be durable, it has just accepted.
    const status = this.#toldStatus(id);
    if (this.witness.isRemoved(id)) this.break(`the directory of removed snapshot ${id} is made`);
    const isDue = status === undefined || /^(preparing|committed.unavailable)$/.test(status);
    const isRecreated = this.#isRecovering && /^(active|view|committing)$/.test(status ?? '');
    if (!isDue && !isRecreated) this.break(`directory ${id} is made while it is ${status}`);
  }

  /** Made ahead: of a snapshot that is not there yet. */
  mayUsePreallocated(id: SnapshotId): void {
    this.observe();
    if (!this.witness.isPreallocated(id))
      this.break(`directory ${id} is made ahead, and not set aside`);
  }

  mayEmpty(id: SnapshotId, signal?: AbortSignal): void {
    if (signal?.aborted === true) return;
    this.#mustBe(id, ['mounting', 'removing'], 'is emptied');
  }

  mayRemove(name: string, signal?: AbortSignal): void {
    if (signal?.aborted === true) return;
    this.observe();
    const id = Number(name) as SnapshotId;
    const { forest } = this.witness.truth;
    const state = forest.get(id);
    if (state === undefined) {
      if (!forest.released.has(name)) this.break(`${name} is removed with what is in it`);
      return;
    }
    this.#mustBe(id, ['removing'], 'is removed');
    if (state.removal?.because === 'inferred') {
      this.break(`directory ${id} is removed with what is in it, and that is only inferred`);
    }
  }

  mayRemoveUnused(name: string, signal?: AbortSignal): void {
    if (signal?.aborted === true) return;
    this.observe();
    const id = Number(name) as SnapshotId;
    if (this.witness.truth.forest.has(id)) {
      this.#mustBe(id, ['removing'], 'is removed');
      return;
    }
    if (this.witness.isPreallocated(id)) return;
    const told = this.witness.records.findLast(
      ({ type, data }) => type.startsWith('Orphan') && data['name'] === name,
    );
    if (told?.type !== 'OrphanFound') this.break(`orphan ${name} is removed before OrphanFound`);
  }

  mayMount(mountpoint: string, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#mustBe(this.#idOf(mountpoint), ['mounting', 'committed.unavailable'], 'is mounted on');
  }

  mayUnmount(mountpoint: string, signal: AbortSignal): void {
    if (signal.aborted) return;
    const due = ['mounting', 'committed.unavailable', 'removing'];
    this.#mustBe(this.#idOf(mountpoint), due, 'is unmounted');
  }

  mayAttach(mountpoint: string, signal?: AbortSignal): void {
    if (signal?.aborted === true) return;
    this.observe();
    const { forest } = this.witness.toldUpTo(
      this.opened?.snapshotter.durablePosition ?? this.witness.position,
    );
    const isNeeded = [forest, this.witness.truth.forest].some((each) =>
      neededClones(ROOT, each).has(mountpoint),
    );
    if (!isNeeded) this.break(`${mountpoint} is mounted, and no durable event calls for it`);
  }

  mayDetach(path: string, signal?: AbortSignal): void {
    if (signal?.aborted === true) return;
    this.observe();
    const needed = [...neededClones(ROOT, this.witness.truth.forest)];
    const still = needed.filter((mountpoint) => `${mountpoint}/`.startsWith(`${path}/`));
    if (still.length > 0) this.break(`${path} is unmounted while it is needed`);
  }

  wasChecked(mountpoint: string): void {
    this.#checkedAt.set(mountpoint, this.clock.monotonicMillis());
  }

  /** When the layer, or the clone, at a mountpoint was last found usable; -1 for never. */
  checkedAt(mountpoint: string): number {
    return this.#checkedAt.get(mountpoint) ?? -1;
  }

  /** An effect that destroys or outlives a crash follows a durable event, never leads it. */
  #mustBe(id: SnapshotId, statuses: readonly string[], what: string): void {
    this.observe();
    const status = this.witness.truth.forest.get(id)?.status ?? 'absent';
    const told = this.#toldStatus(id) ?? 'absent';
    if (!statuses.includes(status) && !statuses.includes(told))
      this.break(`directory ${id} ${what} while it is ${status}`);
  }

  /** While the answer of a sync is on its way, the daemon does not know of the change yet. */
  #toldStatus(id: SnapshotId): string | undefined {
    const at = this.opened?.snapshotter.durablePosition ?? this.witness.position;
    return this.witness.toldUpTo(at).forest.get(id)?.status;
  }

  #idOf(mountpoint: string): SnapshotId {
    return Number(mountpoint.slice(this.tree.path.length + 1).split('/')[0]) as SnapshotId;
  }

  #newLife(): Life {
    this.lives += 1;
    const around = { clock: this.clock, weather: this.weather, trace: this.#trace };
    return new Life(around, this.lives);
  }

  #end(): void {
    this.life.isAlive = false;
    this.state = 'down';
    this.opened = null;
    this.#isRecovering = false;
  }

  #serve(life: Life, opened: OpenedSnapshotter): void {
    this.#trace(`serving; ${opened.plan.findings.map(({ kind }) => kind).join(' ')}`);
    this.opened = opened;
    this.state = 'serving';
    opened.failures.subscribe((fault) => {
      if (!life.isAlive) return;
      this.#trace(`the log failed: ${fault.message}`);
      this.hasFailed = true;
    });
    this.#isRecovering = true;
    void opened.recover().then(
      () => {
        if (life.isAlive) this.#isRecovering = false;
      },
      (thrown: unknown) => {
        if (life.isAlive) this.break(`recovery rejects: ${String(thrown)}`);
      },
    );
  }

  #open(life: Life): Promise<OpenedSnapshotter> {
    const { tree, mounts, weather } = this;
    const directories = new SimDirectories(life, weather, tree, mounts, this);
    return openSnapshotter({
      root: ROOT,
      release: { version: '0.0.0', node: 'v20', pid: this.lives },
      ports: {
        clock: life.clock,
        disk: new SimDisk(life, this.disk, () => {
          if (life.isAlive) this.observe();
        }),
        mountTable: new SimMountTable(life, weather, mounts),
        processes: this.clients.ports(life),
        idmappedMounts: new SimIdmapped(
          `${ROOT}/idmapped`,
          ...([life, weather, mounts, this.idmapped, this] as const),
        ),
        directories,
        random: () => this.#random.next(),
      },
      fileSystem: new SimFileSystem(life, this.layers, mounts, tree, this),
      settings: this.settings,
      mountSettings: () =>
        Promise.resolve({ mountOptions: [], kernelOptions: ['index=off'], whyNoIdMapping: null }),
      log: {
        uuid: () => '00000000-0000-4000-8000-000000000000',
        holder: { pid: this.lives, host: 'sim', command: 'sim' },
        expectExisting: false,
        segmentBytes: this.#segmentBytes,
      },
      observer: {
        warning: (message) => life.trace(`warning: ${message}`),
        fatal: (thrown) => {
          if (life.isAlive) this.break(`fatal: ${String(thrown)}`);
        },
        effectFailed: (effect, snapshot, reason) =>
          life.trace(`failed: ${effect} ${snapshot ?? ''}: ${reason}`),
        healthChanged: (health) => life.trace(`health: ${health}`),
      },
    });
  }
}
