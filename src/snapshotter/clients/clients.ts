/**
 * Which process a call comes from, and whether it may change what another process made.
 *
 * Each containerd removes every snapshot that it does not know, so two of them on one socket would
 * empty each other's store. A snapshot belongs to the process that made it. When that has ended,
 * another may have it: the same program, started again, or any client when no process runs that
 * program any more.
 */
import { orAborted } from '../../base/abort.js';
import { reasonOf } from '../../base/errors.js';
import type { Clock, MountTable, ProcessId, Processes } from '../../base/ports.js';
import { idsShownBy } from '../../base/mount-layers.js';
import { metaOf } from '../../machines/transition-table.js';
import type { Caller } from '../../machines/events/events.js';
import type { SnapshotState } from '../../machines/fold.js';
import {
  isSameProcess,
  makerOf,
  processInWords,
  processOf,
  type Keeper,
  type Maker,
} from '../../machines/client-identity.js';
import { ONE_CLIENT_EACH } from '../../machines/refusals.js';
import type { ClientReports } from './client-reports.js';

/** How long a call waits for a look at other processes. */
const LOOK_MILLIS_MAX = 1_000;
/**
 * How long it holds that no process runs a program. A collection asks once for each snapshot, and
 * a search reads a file of each process; a client that has just started has nothing to lose yet.
 */
export const ABSENT_MILLIS = 100;
/** Programs that are remembered, by process. */
const PROGRAMS_MAX = 256;

export interface ClientsOptions {
  readonly processes: Processes;
  readonly mountTable: Pick<MountTable, 'read'>;
  readonly snapshotsPath: string;
  readonly clock: Pick<Clock, 'monotonicMillis' | 'schedule'>;
  readonly reports: ClientReports;
}

export class Clients {
  readonly #options: ClientsOptions;
  /** By process; undefined while the first look is under way. */
  readonly #programs = new Map<string, string | null>();
  readonly #successors = new Map<
    string,
    { readonly process: ProcessId | null; readonly atMillis: number }
  >();

  constructor(options: ClientsOptions) {
    this.#options = options;
  }

  /** The caller with the program it runs, if that is known already. */
  known(caller: Caller): Caller {
    const process = processIn(caller);
    const program = process === null ? undefined : this.#programs.get(keyOf(process));
    return program === undefined || program === null ? caller : { ...caller, program };
  }

  /**
   * The caller with the program it runs, at once when that is known already. Never rejects:
   * without an answer in time there is none.
   */
  identify(caller: Caller): Promise<Caller> | Caller {
    const process = processIn(caller);
    if (process === null || this.#programs.has(keyOf(process))) return this.known(caller);
    return this.#learnProgram(process).then(() => this.known(caller));
  }

  async #learnProgram(process: ProcessId): Promise<void> {
    const { processes } = this.#options;
    const program = await this.#within((signal) => processes.programOf(process.pid, signal)).catch(
      () => null,
    );
    // What was read is of this process only if it still runs.
    const isSame = processes.statusOf(process) === 'running';
    if (this.#programs.size === PROGRAMS_MAX) this.#programs.clear();
    this.#programs.set(keyOf(process), isSame ? program : null);
  }

  /**
   * Why the caller may not have the snapshot, or not remove it; null when it may. A promise only
   * where that takes a look.
   */
  keeperOf(
    state: SnapshotState,
    caller: Caller,
    purpose: 'use' | 'removal',
  ): Promise<Keeper | null> | Keeper | null {
    const { maker } = state;
    const made = maker === null ? null : processOf(maker);
    if (maker === null || made === null || isCalledBy(made, caller)) return null;
    const status = this.#options.processes.statusOf(made);
    if (status === 'ended') return this.#keeperAfter(state, maker, caller, purpose);
    if (status === 'unknown') return { kind: 'unknown', maker, reason: '/proc cannot be read' };
    return this.#keeperWhileRunning(maker, made, caller);
  }

  async #keeperWhileRunning(maker: Maker, made: ProcessId, caller: Caller): Promise<Keeper> {
    this.#reportPair(maker, made, await this.identify(caller));
    return { kind: 'maker', maker };
  }

  /** The maker has ended. */
  async #keeperAfter(
    state: SnapshotState,
    maker: Maker,
    caller: Caller,
    purpose: 'use' | 'removal',
  ): Promise<Keeper | null> {
    const { program } = maker;
    try {
      if (program !== null) {
        const client = await this.identify(caller);
        if (client.program === program) return null;
        const successor = await this.#running(program);
        if (successor !== null && !isCalledBy(successor, caller)) {
          this.#reportPair({ ...successor, program }, successor, client);
          return { kind: 'successor', maker, pid: successor.pid };
        }
      }
      const mountpoint = purpose === 'removal' ? await this.#mountpointOf(state) : null;
      return mountpoint === null ? null : { kind: 'mount', maker, mountpoint };
    } catch (thrown) {
      return { kind: 'unknown', maker, reason: reasonOf(thrown) };
    }
  }

  async #running(program: string): Promise<ProcessId | null> {
    const { processes, clock } = this.#options;
    const last = this.#successors.get(program);
    if (last !== undefined) {
      const isYoung = clock.monotonicMillis() - last.atMillis < ABSENT_MILLIS;
      const stillHolds =
        last.process === null ? isYoung : processes.statusOf(last.process) === 'running';
      if (stillHolds) return last.process;
    }
    const process = await this.#within((signal) => processes.findProgram(program, signal));
    if (this.#successors.size === PROGRAMS_MAX) this.#successors.clear();
    this.#successors.set(program, { process, atMillis: clock.monotonicMillis() });
    return process;
  }

  /**
   * Where a snapshot that can be written to, or a view, is in use. Its layers need no look: a
   * snapshot stands on them.
   */
  async #mountpointOf({ id, status }: SnapshotState): Promise<string | null> {
    const { mountTable, snapshotsPath } = this.#options;
    const { shownAs } = metaOf(status);
    if (shownAs !== 'active' && shownAs !== 'view') return null;
    const mounts = await this.#within((signal) => mountTable.read(signal));
    const mount = mounts.find((entry) => idsShownBy(entry, mounts, snapshotsPath).includes(id));
    return mount?.mountpoint ?? null;
  }

  #reportPair(maker: Maker, made: ProcessId, caller: Caller): void {
    const client = makerOf(caller);
    const process = client === null ? null : processOf(client);
    const [first, second] = [
      processInWords(maker),
      client === null ? 'the library' : processInWords(client),
    ];
    // Each is kept from what the other one made: whichever asked first, it is one report.
    const pair = [keyOf(made), process === null ? '' : keyOf(process)].sort().join(' ');
    this.#options.reports.add(
      pair,
      {
        fault: 'shared socket',
        reason: `${first} and ${second} use this Stratalog; ${ONE_CLIENT_EACH}`,
        processes: process === null ? [made] : [made, process],
      },
      'two clients use this Stratalog; each is kept from changing the snapshots of the other',
      { maker: first, client: second, advice: ONE_CLIENT_EACH },
    );
  }

  async #within<Value>(look: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    const controller = new AbortController();
    const cancel = this.#options.clock.schedule(LOOK_MILLIS_MAX, () =>
      controller.abort(new Error(`no answer within ${LOOK_MILLIS_MAX} ms`)),
    );
    try {
      return await orAborted(look(controller.signal), controller.signal);
    } finally {
      cancel();
    }
  }
}

/** Where the start of the caller is not known, its pid must do. */
function isCalledBy(process: ProcessId, { pid, startedAt }: Caller): boolean {
  if (pid !== process.pid) return false;
  return startedAt === undefined || isSameProcess(process, { pid, startedAt });
}

function processIn(caller: Caller): ProcessId | null {
  const { pid, startedAt } = caller;
  return pid === undefined ? null : processOf({ pid, startedAt: startedAt ?? null });
}

const keyOf = ({ pid, startedAt }: ProcessId): string => `${pid} ${startedAt}`;
