/**
 * What was promised up to any point of a disk's life. Each call is kept with two positions in the
 * order of the disk's writes: where the disk was when the call was sent, and where when its
 * answer was received. If the power goes in between, the call may have happened or not, as a
 * whole; if it goes after the answer, it must have happened.
 */
import { labelsText } from './oracle.js';

export interface Promised {
  readonly kind: 'active' | 'view' | 'committed';
  readonly parent: string;
  readonly labels: ReadonlyMap<string, string>;
  /** Of a committed snapshot: what its directory holds (describeContents). */
  readonly contents: string | null;
}

/** Names and what they stand for after a call; null when the name is free. */
export type Outcome = ReadonlyMap<string, Promised | null>;

interface Call {
  readonly what: string;
  readonly sentAt: number;
  answeredAt: number;
  readonly outcome: Outcome;
}

export class History {
  readonly #calls: Call[] = [];

  /** Notes that a call is sent. The answer to it is noted by what is returned. */
  sent(what: string, position: number, outcome: Outcome): (position: number) => void {
    const call = { what, sentAt: position, answeredAt: Infinity, outcome };
    this.#calls.push(call);
    return (answeredAt) => {
      call.answeredAt = answeredAt;
    };
  }

  /** How many calls had been answered by then. */
  answeredBy(position: number): number {
    return this.#calls.filter(({ answeredAt }) => answeredAt <= position).length;
  }

  /**
   * Compares what is found after a power cut at a position with what was promised before it. A
   * line for each difference.
   */
  compare(position: number, found: ReadonlyMap<string, Promised>): string[] {
    const certain = new Map<string, Promised>();
    const open: Call[] = [];
    // In the order in which they were sent: a client waits for each answer before its next call,
    // and changes names of its own only.
    for (const call of this.#calls) {
      if (call.answeredAt <= position) settle(call.outcome, certain);
      else if (call.sentAt <= position) open.push(call);
    }
    const lines: string[] = [];
    for (const { what, outcome } of open) {
      const before = [...outcome.keys()].map((name) => stateText(certain.get(name)));
      const after = [...outcome.values()].map((state) => stateText(state ?? undefined));
      const there = [...outcome.keys()].map((name) => stateText(found.get(name)));
      if (same(there, after)) settle(outcome, certain);
      else if (!same(there, before)) {
        lines.push(
          `${what} happened neither as a whole nor not at all: ${[...outcome.keys()].join()} are ${there.join()}`,
        );
      }
    }
    if (lines.length > 0) return lines;
    for (const [name, promised] of certain) {
      const [was, is] = [stateText(promised), stateText(found.get(name))];
      if (was !== is) lines.push(`${name}: acknowledged as ${was}, found as ${is}`);
    }
    for (const name of found.keys()) {
      if (!certain.has(name)) lines.push(`${name}: is there, but must not be`);
    }
    return lines;
  }
}

function settle(outcome: Outcome, onto: Map<string, Promised>): void {
  for (const [name, state] of outcome) {
    if (state === null) onto.delete(name);
    else onto.set(name, state);
  }
}

const same = (one: readonly string[], other: readonly string[]): boolean =>
  one.every((text, index) => text === other[index]);

function stateText(state: Promised | undefined): string {
  if (state === undefined) return 'nothing';
  const { kind, parent, labels, contents } = state;
  const shown = [...labels].map(([key, value]): [string, string] => [key, shorten(value)]);
  const held = contents === null ? '' : ` holding\n${contents}\n`;
  return `${kind} on "${parent}" ${labelsText(new Map(shown))}${held}`;
}

/** A long label is told by its length; it is one word again and again. */
const shorten = (value: string): string =>
  value.length < 100 ? value : `${value.length} of ${value.slice(0, 4)}`;
