/**
 * What is wrong between this daemon and its clients at this moment, one entry for each client or
 * pair of clients. A warning is logged once; the entry goes when the cause goes, or when one of
 * the processes has ended.
 */
import type { ProcessId, Processes } from '../../base/ports.js';

export type ClientFault =
  /** A client does not see the mounts that are made here. */
  | 'hidden mounts'
  /** A client asked for a change of what another one made. */
  | 'shared socket';

export interface ClientReport {
  readonly fault: ClientFault;
  /** One sentence with the processes and what to do. */
  readonly reason: string;
}

interface Entry extends ClientReport {
  /** The report ends when one of them ends. */
  readonly processes: readonly ProcessId[];
}

/** Far more than a machine has clients; a client that comes and goes must not fill the memory. */
const ENTRIES_MAX = 64;

export interface ClientReportsOptions {
  readonly processes: Pick<Processes, 'statusOf'>;
  readonly onWarning: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Called after each change with all entries. */
  readonly onChange: (reports: readonly ClientReport[]) => void;
}

export class ClientReports {
  readonly #options: ClientReportsOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: ClientReportsOptions) {
    this.#options = options;
  }

  /** `subject` names the client or the pair; one that is reported already is not reported again. */
  add(
    subject: string,
    entry: Entry,
    message: string,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    const key = `${entry.fault} ${subject}`;
    if (this.#entries.has(key)) return;
    this.review();
    const [oldest] = this.#entries.keys();
    if (this.#entries.size === ENTRIES_MAX && oldest !== undefined) this.#entries.delete(oldest);
    this.#entries.set(key, entry);
    this.#options.onWarning(message, fields);
    this.#changed();
  }

  has(fault: ClientFault, subject: string): boolean {
    return this.#entries.has(`${fault} ${subject}`);
  }

  /** The cause is gone. */
  clear(fault: ClientFault, subject: string): void {
    if (this.#entries.delete(`${fault} ${subject}`)) this.#changed();
  }

  /** Drops what is about processes that have ended. */
  review(): void {
    let isChanged = false;
    for (const [key, { processes }] of this.#entries) {
      if (!processes.some((process) => this.#options.processes.statusOf(process) === 'ended')) {
        continue;
      }
      this.#entries.delete(key);
      isChanged = true;
    }
    if (isChanged) this.#changed();
  }

  #changed(): void {
    this.#options.onChange(
      [...this.#entries.values()].map(({ fault, reason }) => ({ fault, reason })),
    );
  }
}
