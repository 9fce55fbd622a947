/**
 * Whether a client sees what is mounted here. A daemon in a mount namespace of its own mounts
 * layers where containerd and its shims find an empty directory; containers would run on it. So
 * a client that does not see a remote layer is not served that layer.
 */
import { dirname } from 'node:path';
import { reasonOf } from '../../base/errors.js';
import type { MountTable, Processes } from '../../base/ports.js';
import { mountOf } from '../../base/mount-layers.js';
import {
  isSharedOutward,
  mayPropagate,
  SHARE_MOUNTS,
} from '../../inspect/startup/mount-namespaces.js';
import { processInWords, processOf, type Maker } from '../../machines/client-identity.js';
import type { ClientReports } from './client-reports.js';

export interface VisibilityOptions {
  readonly processes: Processes;
  readonly mountTable: Pick<MountTable, 'read'>;
  readonly snapshotsPath: string;
  readonly reports: ClientReports;
}

/** How a process finds paths, compared with this one. */
type View = ReturnType<Processes['mountViewOf']>;

export interface Hidden {
  readonly mountpoint: string;
  readonly reason: string;
}

export class Visibility {
  readonly #options: VisibilityOptions;

  constructor(options: VisibilityOptions) {
    this.#options = options;
  }

  /**
   * Why a mount that is made now would not reach the client, so that none need be made; null when
   * it may, which only `whyHidden` can tell for certain. `client` is null for this process itself.
   */
  async whyOutOfReach(client: Maker | null, signal: AbortSignal): Promise<string | null> {
    const view = this.#viewOf(client);
    if (client === null || view === 'ours') return null;
    try {
      const { snapshotsPath } = this.#options;
      const isInReach = await this.#isInReach(client, view, snapshotsPath, signal);
      return isInReach ? null : this.#report(client);
    } catch (thrown) {
      signal.throwIfAborted();
      return this.#report(client, thrown);
    }
  }

  /**
   * The first of the mountpoints where the client does not see what is mounted here, and why; null
   * when it sees all. To be asked after the mounts are made.
   */
  async whyHidden(
    client: Maker | null,
    mountpoints: readonly string[],
    signal: AbortSignal,
  ): Promise<Hidden | null> {
    const [first] = mountpoints;
    if (client === null || first === undefined) return null;
    try {
      const mountpoint = await this.#firstHidden(client, first, mountpoints, signal);
      if (mountpoint !== null) return { mountpoint, reason: this.#report(client) };
    } catch (thrown) {
      signal.throwIfAborted();
      return { mountpoint: first, reason: this.#report(client, thrown) };
    }
    this.#options.reports.clear('hidden mounts', subjectOf(client));
    return null;
  }

  /** Whether the client did not see a mount when it last asked for one. */
  isBlind(client: Maker | null): boolean {
    return client !== null && this.#options.reports.has('hidden mounts', subjectOf(client));
  }

  /** A call's process is unknown when its pid namespace is not below ours, or when it has ended. */
  #viewOf(client: Maker | null): View {
    if (client === null) return 'ours';
    const process = processOf(client);
    return process === null ? 'unknown' : this.#options.processes.mountViewOf(process);
  }

  async #firstHidden(
    client: Maker,
    first: string,
    mountpoints: readonly string[],
    signal: AbortSignal,
  ): Promise<string | null> {
    const view = this.#viewOf(client);
    if (view === 'ours') return null;
    if (view === 'unknown') {
      return (await this.#isInReach(client, view, dirname(first), signal)) ? null : first;
    }
    const [hidden] = await this.#options.processes.hiddenFrom(client.pid, mountpoints, signal);
    // Another process may have the pid by now.
    return hidden ?? (this.#viewOf(client) === 'unknown' ? first : null);
  }

  /** Whether what is mounted below the directory may reach the client. */
  async #isInReach(
    client: Maker,
    view: View,
    directory: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { mountTable, processes } = this.#options;
    const ours = mountOf(directory, await mountTable.read(signal));
    if (ours === null) return false;
    if (view === 'unknown') return isSharedOutward(ours);
    const theirs = mountOf(directory, await processes.mountsOf(client.pid, signal));
    return theirs !== null && mayPropagate(ours, theirs);
  }

  #report(client: Maker, thrown?: unknown): string {
    const who = client.pid === 0 ? 'a process of another pid namespace' : processInWords(client);
    const sees = thrown === undefined ? 'does not see' : `may not see (${reasonOf(thrown)})`;
    const reason = `${who} ${sees} what this daemon mounts; ${SHARE_MOUNTS}`;
    const process = processOf(client);
    this.#options.reports.add(
      subjectOf(client),
      { fault: 'hidden mounts', reason, processes: process === null ? [] : [process] },
      'a client does not see what this daemon mounts, and is served no remote layer',
      { client: who, advice: SHARE_MOUNTS },
    );
    return reason;
  }
}

const subjectOf = ({ pid, startedAt }: Maker): string => `${pid} ${startedAt}`;
