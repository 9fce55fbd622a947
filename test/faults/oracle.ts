/**
 * What the daemon has promised. Each acknowledgement changes an entry; a call that got no answer
 * is kept as *undetermined* until a look at the daemon shows whether it happened as a whole or
 * not at all. Clients change only names of their own, or hold a gate meanwhile, so the order of
 * acknowledgements is never in doubt.
 */
import { dirname } from 'node:path';
import type { SnapshotInfo } from './client.js';

/** A time is known exactly once it was told; before, only that it lies within a call. */
export interface Span {
  readonly from: bigint;
  readonly to: bigint;
}

export interface Entry {
  readonly name: string;
  readonly parent: string;
  readonly kind: SnapshotInfo['kind'];
  readonly labels: ReadonlyMap<string, string>;
  readonly created: Span;
  readonly updated: Span;
  /** As they were told; null when nobody has asked yet. */
  readonly mounts: string | null;
  readonly usage: string | null;
  /** The snapshot's directory, once a mount has told it, and what was written into it. */
  readonly fs: string | null;
  readonly mark: string | null;
}

export interface Undetermined {
  readonly what: string;
  /** Whether the snapshots that are there show that it happened. */
  readonly happened: (present: ReadonlyMap<string, SnapshotInfo>) => boolean;
  readonly apply: () => void;
}

/** The clocks of two processes on one machine agree, but Date.now() knows whole milliseconds only. */
const clockSlackNanos = 2_000_000n;

export class Oracle {
  readonly entries = new Map<string, Entry>();
  undetermined: Undetermined[] = [];
  /** What was wrong while the daemon still lived, such as a refusal without a reason. */
  readonly violations: string[] = [];
  readonly #versions = new Map<string, number>();
  readonly #inFlight = new Map<string, number>();

  put(entry: Entry): void {
    this.entries.set(entry.name, entry);
  }

  /** The entry's facts that an info tells, from now on exactly. */
  learn(info: SnapshotInfo): void {
    const entry = this.entries.get(info.name);
    if (entry === undefined) return;
    this.put({ ...entry, created: exactly(info.created), updated: exactly(info.updated) });
  }

  childrenOf(name: string): number {
    let count = 0;
    for (const { parent } of this.entries.values()) if (parent === name) count += 1;
    return count;
  }

  /**
   * Says that a call about this name, as a target or as a parent, is under way. The answer tells,
   * at its end, whether no other such call overlapped: only then must the daemon's word agree
   * with what was known before.
   */
  using(name: string): { readonly end: () => boolean } {
    const running = this.#inFlight.get(name) ?? 0;
    const version = (this.#versions.get(name) ?? 0) + 1;
    this.#inFlight.set(name, running + 1);
    this.#versions.set(name, version);
    return {
      end: () => {
        this.#inFlight.set(name, (this.#inFlight.get(name) ?? 1) - 1);
        return running === 0 && this.#versions.get(name) === version;
      },
    };
  }

  /** After a kill nothing is under way any more. */
  forgetCalls(): void {
    this.#inFlight.clear();
  }

  /** Decides each undetermined call by what is there. Answers how many had happened. */
  settle(present: ReadonlyMap<string, SnapshotInfo>): number {
    const happened = this.undetermined.filter((call) => call.happened(present));
    for (const call of happened) call.apply();
    this.undetermined = [];
    return happened.length;
  }
}

const exactly = (time: bigint): Span => ({ from: time, to: time });

/** The span of a call that began then and has just ended. */
export function since(startMillis: number): Span {
  return {
    from: BigInt(startMillis) * 1_000_000n - clockSlackNanos,
    to: BigInt(Date.now()) * 1_000_000n + clockSlackNanos,
  };
}

/** The directory that a snapshot of its own can be written to, out of its mounts. */
export function writableDirectory(mounts: string): string | null {
  const upper = /(?:^| )upperdir=(\S+)/.exec(mounts)?.[1];
  const bound = /^bind (\S+) (?:.* )?rw(?: |$)/.exec(mounts)?.[1];
  return upper ?? bound ?? null;
}

/** The number that names a snapshot's directory. */
export const idOf = (fs: string): string => dirname(fs).split('/').at(-1) ?? '';

const spanText = ({ from, to }: Span): string => (from === to ? `${from}` : `${from}..${to}`);

export const labelsText = (labels: ReadonlyMap<string, string>): string =>
  JSON.stringify([...labels].sort(([a], [b]) => (a < b ? -1 : 1)));

/** How an info differs from what was promised, one line a fact. */
export function differences(entry: Entry, info: SnapshotInfo): string[] {
  const lines: string[] = [];
  const compare = (fact: string, promised: string, found: string) => {
    if (promised !== found) lines.push(`${entry.name}: ${fact} ${promised} became ${found}`);
  };
  const compareTime = (fact: string, promised: Span, found: bigint) => {
    if (found < promised.from || found > promised.to) {
      lines.push(`${entry.name}: ${fact} ${spanText(promised)} became ${found}`);
    }
  };
  compare('parent', entry.parent, info.parent);
  compare('kind', entry.kind, info.kind);
  compare('labels', labelsText(entry.labels), labelsText(info.labels));
  compareTime('created', entry.created, info.created);
  compareTime('updated', entry.updated, info.updated);
  return lines;
}
