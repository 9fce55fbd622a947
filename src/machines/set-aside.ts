/**
 * Directories that no snapshot owns and that nothing may delete: they hold files or a mount uses
 * them, so the log is not the newest one that these directories have had; or a repair lost the
 * events of their snapshots. A person who names one releases it: then it is deleted with its
 * content. Part of the forest.
 */
import { SET_ASIDE_REASONS, type DaemonEvent } from './events/daemon-events.js';

/** `repair`: set aside by LogRepaired, the others by DirectoriesSetAside. */
export const SET_ASIDE_KINDS = ['repair', ...SET_ASIDE_REASONS] as const;

export interface SetAside {
  readonly because: (typeof SET_ASIDE_KINDS)[number];
  readonly evidence: string;
}

export class SetAsideDirectories {
  readonly #kept = new Map<string, SetAside>();
  readonly #released = new Set<string>();

  /** By name in `snapshots/`. */
  get kept(): ReadonlyMap<string, SetAside> {
    return this.#kept;
  }

  /** Requested to be deleted with their content, and not known to be gone. */
  get released(): ReadonlySet<string> {
    return this.#released;
  }

  keep(name: string, why: SetAside): void {
    this.#kept.set(name, why);
    this.#released.delete(name);
  }

  release(name: string): void {
    this.#kept.delete(name);
    this.#released.add(name);
  }

  takeIn(event: DaemonEvent): void {
    if (event.type === 'DirectoriesSetAside') {
      for (const { name, because, evidence } of event.data.directories) {
        this.keep(name, { because, evidence });
      }
    } else if (event.type === 'LogRepaired') {
      for (const id of event.data.kept) this.keep(String(id), lostByRepair);
    } else if (event.type === 'DirectoriesReleased') {
      for (const name of event.data.names) {
        if (event.data.because === 'requested') this.release(name);
        else this.#kept.delete(name);
      }
    } else if (event.type === 'OrphanRemoved') {
      this.#released.delete(event.data.name);
    }
  }
}

const lostByRepair: SetAside = {
  because: 'repair',
  evidence: 'the events of its snapshot are lost',
};
