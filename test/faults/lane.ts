/**
 * One root that is worked on, killed and started again, round after round. Everything is drawn
 * from one seed; what the two processes do in between is theirs, so a seed repeats the plan of a
 * failing round and not its every interleaving.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, stratalog } from '../../scripts/rig/daemon.js';
import { until } from '../../scripts/rig/wait.js';
import type { Workspace } from '../../scripts/rig/workspace.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { readLog } from '../../src/log/reader.js';
import type { LogRecord } from '../../src/log/types.js';
import { SnapshotsClient, type SnapshotInfo } from './client.js';
import { Gates } from './gates.js';
import { type RemoteTarget, type Round, Worker } from './load.js';
import { compareDisk, compareEach, compareList, listText, present, verifiedLog } from './look.js';
import { Oracle } from './oracle.js';
import { Random } from '../support/random.js';

export interface LaneOptions {
  readonly workspace: Workspace;
  readonly name: string;
  readonly seed: number;
  readonly layerStore: string;
  readonly targets: readonly RemoteTarget[];
  readonly clients: number;
  /** A second restart after every so many rounds. */
  readonly restartEvery: number;
}

/** What a round found. The message is for a person; the seed makes the plan come again. */
class RoundFailed extends Error {
  override readonly name = 'RoundFailed';
}

/**
 * The kill comes after so many answers at most, and then so many milliseconds. Counted in answers,
 * because a time alone would be all of a round on one machine and nothing on another.
 */
const killAnswersMax = 80;
const killMillisMax = 20;
const killMillisWhileRecovering = 150;
/** One start in so many is killed while it still recovers. */
const recoveryKillRate = 0.1;
const settleMillisMax = 20_000;

/** Small files, so that kills meet new segments and checkpoints too. */
const config = `
[log_store]
segment_size = "1MiB"
checkpoint_every_events = 500
`;

export class Lane {
  readonly root: string;
  readonly counts = new Map<string, number>();
  readonly #options: LaneOptions;
  readonly #oracle = new Oracle();
  readonly #random: Random;
  readonly #daemons: { readonly inOrder: Daemon; readonly deferred: Daemon };
  #daemon: Daemon;
  /** Directories of removed snapshots may lie there until a Cleanup. */
  #mayAwaitCleanup = false;

  constructor(options: LaneOptions) {
    const { workspace, name, layerStore, seed } = options;
    this.#options = options;
    this.#random = new Random(seed);
    // Two ways to start on one root; only one of them runs at a time.
    const common = { layerStore, config };
    this.#daemons = {
      inOrder: Daemon.stratalog(workspace, common, name),
      deferred: Daemon.stratalog(workspace, { ...common, asyncRemove: true }, name),
    };
    this.#daemon = this.#daemons.inOrder;
    this.root = this.#daemon.root;
  }

  async run(rounds: number): Promise<void> {
    await this.#start();
    for (let round = 1; round <= rounds; round += 1) {
      const failed = (found: readonly string[], cause?: unknown) =>
        new RoundFailed(this.#report(round, found), { cause });
      try {
        const found = await this.#round(round);
        if (found.length > 0) throw failed(found);
      } catch (thrown) {
        if (thrown instanceof RoundFailed) throw thrown;
        throw failed([thrown instanceof Error ? thrown.message : String(thrown)], thrown);
      }
    }
    await this.#daemon.stop();
    const found = await verifiedLog(this.root);
    const { exitCode, stdout, stderr } = await stratalog('verify', '--root', this.root);
    if (exitCode !== 0) found.push(`stratalog verify ended with ${exitCode}: ${stdout}${stderr}`);
    if (found.length > 0) throw new RoundFailed(this.#report(rounds, found));
  }

  /** Takes nothing away and changes nothing: for a look at the root afterwards. */
  async stop(): Promise<void> {
    await this.#daemon.stop();
  }

  #report(round: number, found: readonly string[]): string {
    return `${this.#options.name}, seed ${this.#options.seed}, round ${round}:\n  ${found.join('\n  ')}`;
  }

  #count(what: string, times = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + times);
  }

  /** The ways to start are drawn, so that each leaves work for the other. */
  async #start(): Promise<void> {
    const { inOrder, deferred } = this.#daemons;
    this.#daemon = this.#random.chance(0.5) ? deferred : inOrder;
    if (this.#daemon === deferred) this.#mayAwaitCleanup = true;
    await this.#daemon.start();
  }

  async #round(number: number): Promise<string[]> {
    const oracle = this.#oracle;
    await this.#workAndKill();
    this.#count('without an answer', oracle.undetermined.length);
    const violations = oracle.violations.splice(0);
    if (violations.length > 0) return violations;

    while (this.#random.chance(recoveryKillRate)) {
      await this.#start();
      await sleep(this.#random.below(killMillisWhileRecovering));
      await this.#daemon.crash();
      this.#count('killed while recovering');
    }
    await this.#start();
    const client = new SnapshotsClient(this.#daemon.address);
    try {
      const found = await this.#compare(client);
      if (found.length > 0 || number % this.#options.restartEvery !== 0) return found;
    } finally {
      client.close();
    }
    return this.#restartUnchanged();
  }

  async #workAndKill(): Promise<void> {
    const { clients, targets } = this.#options;
    const round: Round = {
      oracle: this.#oracle,
      targets,
      gates: new Gates(),
      mayBeKilled: false,
      counts: new Map(),
    };
    const { address } = this.#daemon;
    const workers = Array.from(
      { length: clients },
      (_, index) => new Worker(round, index, this.#random.split(), address),
    );
    await Promise.all(workers.map((worker) => worker.connected()));
    const works = workers.map((worker) => worker.work(() => !this.#daemon.isRunning));
    const answers = this.#random.below(killAnswersMax);
    const millis = this.#random.next() * killMillisMax;
    await until('there were answers', () => sum(round.counts) >= answers, { pauseMillis: 1 });
    await sleep(millis);
    round.mayBeKilled = true;
    await this.#daemon.crash();
    await Promise.all(works);
    this.#oracle.forgetCalls();
    for (const [what, times] of round.counts) this.#count(what, times);
  }

  async #compare(client: SnapshotsClient): Promise<string[]> {
    const oracle = this.#oracle;
    // Before recovery is through: what a client can see is right from the first answer on.
    const first = await present(client);
    this.#count('happened without an answer', oracle.settle(first.infos));
    const found = [...first.doubles, ...compareList(oracle, first.infos)];
    if (found.length > 0) return found;
    if (this.#mayAwaitCleanup) {
      const cleaned = await client.cleanup();
      if (cleaned.kind !== 'answered') return [`cleanup: ${cleaned.message}`];
      this.#mayAwaitCleanup = this.#daemon === this.#daemons.deferred;
    }
    const { infos } = await present(client);
    found.push(...compareList(oracle, infos));
    found.push(...(await compareEach(oracle, client, infos)));
    found.push(...(await this.#settledDisk(infos)));
    return found;
  }

  /** Recovery works behind the socket; what still differs when its time is over is told. */
  async #settledDisk(infos: ReadonlyMap<string, SnapshotInfo>): Promise<string[]> {
    let found: string[] = [];
    const probe = async () => {
      found = await compareDisk(this.root, this.#oracle, infos);
      return found.length === 0;
    };
    const options = { timeoutMillis: settleMillisMax, pauseMillis: 50 };
    await until('the root is settled', probe, options).catch(() => undefined);
    return found;
  }

  /** In order or by a kill: a start without work in between must leave everything as it is. */
  async #restartUnchanged(): Promise<string[]> {
    const before = await this.#seen();
    const inOrder = this.#random.chance(0.5);
    if (inOrder) await this.#daemon.stop();
    else await this.#daemon.crash();
    const torn = inOrder ? await verifiedLog(this.root) : [];
    await this.#start();
    this.#count('second restarts');
    const after = await this.#seen();
    const found = torn.concat(await this.#settledDisk(after.infos));
    if (before.text !== after.text) {
      found.push(`the list was\n${before.text}\nand after another restart is\n${after.text}`);
    }
    const options = { root: this.root, disk: systemDisk(), from: before.position };
    for await (const record of readLog(options)) {
      if (!isOfARestart(record)) {
        found.push(`the restart wrote ${record.type} ${JSON.stringify(record.data)}`);
      }
    }
    return found;
  }

  async #seen() {
    const client = new SnapshotsClient(this.#daemon.address);
    try {
      const { infos } = await present(client);
      const { replay } = await replayRoot(systemDisk(), this.root);
      return { infos, text: listText(infos), position: replay.position };
    } finally {
      client.close();
    }
  }
}

const sum = (counts: ReadonlyMap<string, number>): number =>
  [...counts.values()].reduce((total, count) => total + count, 0);

/** What a start and a stop say of themselves when there is nothing to do. */
function isOfARestart({ type, data }: LogRecord): boolean {
  if (type === 'RecoveryPlanned') {
    const { findings } = data;
    return Array.isArray(findings) && findings.length === 0;
  }
  return ['DaemonStarted', 'DaemonStopped', 'CheckpointTaken'].includes(type);
}
