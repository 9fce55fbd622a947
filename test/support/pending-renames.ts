/**
 * Renames on a disk in memory that no sync has covered yet. As in the journal of ext4, XFS and
 * btrfs a rename is one change: after a power cut a file has its old name or its new one, never
 * both and never none. Renames of different files come through in any order.
 */

interface Move<Entry> {
  /** Moves of one file, or of a directory with all that is in it, come through together. */
  readonly group: unknown;
  readonly entry: Entry;
  readonly from: string;
  readonly to: string;
}

export class PendingRenames<Entry> {
  #moves: readonly Move<Entry>[] = [];

  copy(): PendingRenames<Entry> {
    const copy = new PendingRenames<Entry>();
    copy.#moves = this.#moves;
    return copy;
  }

  add(group: unknown, entry: Entry, from: string, to: string): void {
    this.#moves = [...this.#moves, { group, entry, from, to }];
  }

  /** A sync covers these names: answers all that are durable with them. */
  settle(names: Iterable<string>): ReadonlySet<string> {
    const settled = new Set(names);
    const groups = new Set<unknown>();
    for (let before = -1; before < settled.size + groups.size;) {
      before = settled.size + groups.size;
      for (const { group, from, to } of this.#moves) {
        if (!groups.has(group) && !settled.has(from) && !settled.has(to)) continue;
        groups.add(group);
        settled.add(from).add(to);
      }
    }
    this.#moves = this.#moves.filter(({ group }) => !groups.has(group));
    return settled;
  }

  /** What a power cut leaves under each name that was renamed; `draw` answers from 0 up to 1. */
  remains(
    live: ReadonlyMap<string, Entry>,
    durable: ReadonlyMap<string, Entry>,
    draw: () => number,
  ): ReadonlyMap<string, Entry | undefined> {
    const names = new Set(this.#moves.flatMap(({ from, to }) => [from, to]));
    const left = new Map([...names].map((name) => [name, durable.get(name)]));
    const done = new Map(left);
    const kept = new Map<unknown, boolean>();
    for (const move of this.#moves) {
      const isKept = kept.get(move.group) ?? draw() < 0.5;
      kept.set(move.group, isKept);
      apply(move, done);
      if (isKept) apply(move, left);
    }
    // A name that got something else afterwards, or lost it.
    for (const name of names) {
      if (done.get(name) !== live.get(name) && draw() < 0.5) left.set(name, live.get(name));
    }
    return left;
  }
}

function apply<Entry>(
  { entry, from, to }: Move<Entry>,
  names: Map<string, Entry | undefined>,
): void {
  names.set(to, entry);
  if (names.get(from) === entry) names.set(from, undefined);
}
