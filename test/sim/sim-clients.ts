/**
 * The processes that call the daemon: two programs, each of which runs, has ended, or was started
 * again. In some lives of the daemon one of them does not see what the daemon mounts.
 */
import type { MountEntry, ProcessId, Processes } from '../../src/base/ports.js';
import type { Caller } from '../../src/machines/events/events.js';
import { isSameProcess, processOf, type Maker } from '../../src/machines/client-identity.js';
import { ABSENT_MILLIS } from '../../src/snapshotter/clients/clients.js';
import type { Random } from '../support/random.js';
import type { Life } from './life.js';
import type { SimClock } from './sim-clock.js';

export const CLIENTS = ['first', 'second'] as const;
export type ClientName = (typeof CLIENTS)[number];

/** How the second client's mount namespace receives the daemon's mounts. */
type Reach = 'sees all' | 'sees nothing' | 'seems to see';

/** They outlive the daemon. */
export class SimClients {
  readonly #processes = new Map<ClientName, ProcessId>();
  readonly #random: Random;
  readonly #clock: SimClock;
  readonly #startedAt = new Map<ClientName, number>();
  #starts = 0;
  #reach: Reach = 'sees all';

  constructor(random: Random, clock: SimClock) {
    this.#random = random;
    this.#clock = clock;
    for (const name of CLIENTS) this.start(name);
  }

  /** Runs the program, or runs it again. Pids are used again, start times are not. */
  start(name: ClientName): void {
    this.#starts += 1;
    this.#startedAt.set(name, this.#clock.monotonicMillis());
    this.#processes.set(name, {
      pid: 100 + CLIENTS.indexOf(name) + 2 * this.#random.between(0, 1),
      startedAt: `00000000-${this.#starts}`,
    });
  }

  /** One of them ends, or is started, again or while it runs; says which. One is always left. */
  change(random: Random): string {
    const name = random.pick(CLIENTS);
    const mayEnd = this.isRunning(name) && this.running.length > 1;
    const ends = mayEnd && random.chance(0.4);
    if (ends) this.#processes.delete(name);
    else this.start(name);
    return `the ${name} client ${ends ? 'ends' : 'starts'}`;
  }

  /** The daemon starts: in the same mount namespace as its clients, or in one of its own. */
  daemonStarts(): void {
    const isApart = this.#random.chance(0.25);
    this.#reach = isApart ? this.#random.pick(['sees nothing', 'seems to see']) : 'sees all';
  }

  get running(): readonly ClientName[] {
    return [...this.#processes.keys()];
  }

  isRunning(name: ClientName): boolean {
    return this.#processes.has(name);
  }

  /** Null for one that runs for so short a time that the daemon need not know. */
  knownToRun(): ReadonlyMap<ClientName, boolean | null> {
    const now = this.#clock.monotonicMillis();
    return new Map(
      CLIENTS.map((name) => {
        if (!this.isRunning(name)) return [name, false];
        return [name, now - (this.#startedAt.get(name) ?? 0) > ABSENT_MILLIS ? true : null];
      }),
    );
  }

  isBlind(name: ClientName): boolean {
    return name === 'second' && this.#reach !== 'sees all';
  }

  callerOf(name: ClientName): Caller {
    return { uid: 0, ...this.#processes.get(name) };
  }

  /** Which client made a snapshot; null when that was no client's process that still runs. */
  runningMaker(maker: Maker | null): ClientName | null {
    const process = maker === null ? null : processOf(maker);
    if (process === null) return null;
    return this.running.find((name) => isSame(this.#processes.get(name), process)) ?? null;
  }

  ports(life: Life): Processes {
    const nameOf = (pid: number) =>
      this.running.find((name) => this.#processes.get(name)?.pid === pid) ?? null;
    const home = (propagation: Pick<MountEntry, 'peerGroup' | 'master'>): MountEntry => ({
      ...{ mountId: 1, parentMountId: 0, device: '0:1', root: '/', mountpoint: '/', options: [] },
      ...{ fileSystemType: 'sim', source: 'sim', superOptions: [], ...propagation },
    });
    return {
      startOf: (pid) => {
        const name = nameOf(pid);
        return name === null ? null : (this.#processes.get(name)?.startedAt ?? null);
      },
      statusOf: (process) => {
        const runs = [...this.#processes.values()].some((each) => isSame(each, process));
        return runs ? 'running' : 'ended';
      },
      programOf: (pid) => life.call(`program of ${pid}`, () => programOf(nameOf(pid))),
      findProgram: (program) =>
        life.call(`find ${program}`, () => {
          const name = CLIENTS.find((each) => programOf(each) === program);
          return (name && this.#processes.get(name)) ?? null;
        }),
      mountViewOf: ({ pid }) => {
        const name = nameOf(pid);
        if (name === null) return 'unknown';
        return this.isBlind(name) ? 'other' : 'ours';
      },
      mountsOf: (pid, signal) =>
        life.call(
          `mounts of ${pid}`,
          () => [
            this.#reach === 'seems to see'
              ? home({ peerGroup: null, master: SIM_PEER_GROUP })
              : home({ peerGroup: null, master: null }),
          ],
          { signal },
        ),
      hiddenFrom: (pid, directories, signal) =>
        life.call(
          `hidden from ${pid}`,
          () => {
            const name = nameOf(pid);
            return name !== null && this.isBlind(name) ? directories : [];
          },
          { signal },
        ),
    };
  }
}

/** Of the mount that holds the root. */
export const SIM_PEER_GROUP = 1;

const programOf = (name: ClientName | null): string | null => name && `${name}-00000000`;

const isSame = (one: ProcessId | undefined, other: ProcessId): boolean =>
  one !== undefined && isSameProcess(one, other);
