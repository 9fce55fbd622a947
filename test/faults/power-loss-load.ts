/**
 * Clients of the daemon whose disk will lose power: each works on names of its own, one call
 * after another, and writes real files into what it will commit. The history learns where the
 * disk was when each call was sent and when it was answered.
 */
import { writeFileSync } from 'node:fs';
import { type Answer, SnapshotsClient } from './client.js';
import { writableDirectory } from './oracle.js';
import { describeContents, writeContents, writeThroughOverlay } from './power-loss-contents.js';
import type { History, Outcome, Promised } from './power-loss-oracle.js';
import type { Random } from '../support/random.js';

export interface LoadOptions {
  readonly address: string;
  readonly history: History;
  /** Where the disk is now. */
  readonly position: () => number;
  /** A directory for each client to mount its overlays on, not on the disk under test. */
  readonly mountpoint: string;
  /** A file on the disk that is dirtied and never synced: the work of a neighbour. */
  readonly neighbour: string;
}

const namesMax = 12;
/** Long labels fill segments soon, and make writes that can be torn. */
const longLabelChars = 3_500;
const longLabelsMax = 4;

export class PowerLossClient {
  readonly counts = new Map<string, number>();
  readonly #options: LoadOptions;
  readonly #number: number;
  readonly #random: Random;
  readonly #client: SnapshotsClient;
  readonly #own = new Map<string, Promised>();
  /** Of active snapshots: what the daemon told to mount. */
  readonly #mounts = new Map<string, string>();
  #names = 0;

  constructor(options: LoadOptions, number: number, random: Random) {
    this.#options = options;
    this.#number = number;
    this.#random = random;
    this.#client = new SnapshotsClient(options.address);
  }

  /** So many calls, then the end. Rejects when a call is refused: nothing gives it a reason to. */
  async work(calls: number): Promise<void> {
    await this.#client.connected();
    try {
      for (let call = 0; call < calls; call += 1) await this.#one();
    } finally {
      this.#client.close();
    }
  }

  async #one(): Promise<void> {
    const drawn = this.#random.below(10);
    const active = this.#pick('active');
    if (this.#own.size >= namesMax || drawn === 0) return this.#remove();
    if (drawn === 1) return this.#prepare('view');
    if (drawn === 2) return this.#update();
    if (active === undefined || drawn < 5) return this.#prepare('active');
    return this.#commit(active);
  }

  async #prepare(kind: 'active' | 'view'): Promise<void> {
    const parent = this.#random.chance(0.7) ? (this.#pick('committed') ?? '') : '';
    const labels = this.#labels();
    const key = this.#name(kind);
    const state: Promised = { kind, parent, labels, contents: null };
    const mounts = await this.#call(kind, new Map([[key, state]]), () =>
      kind === 'active'
        ? this.#client.prepare(key, parent, labels)
        : this.#client.view(key, parent, labels),
    );
    if (kind === 'active') this.#mounts.set(key, mounts);
  }

  async #commit(key: string): Promise<void> {
    const before = this.#own.get(key);
    const mounts = this.#mounts.get(key) ?? '';
    const directory = writableDirectory(mounts);
    if (before === undefined || directory === null) throw new Error(`${key} has no directory`);
    if (mounts.startsWith('overlay ') && this.#random.chance(0.15)) {
      const [, , ...options] = mounts.split(' ');
      const { mountpoint } = this.#options;
      await writeThroughOverlay(`${mountpoint}/${this.#number}`, options.join(), this.#random);
      this.#count('overlay');
    } else writeContents(directory, this.#random);
    writeFileSync(this.#options.neighbour, Buffer.alloc(this.#random.below(20_000), key));
    const name = this.#name('layer');
    const labels = this.#labels();
    const state: Promised = {
      kind: 'committed',
      parent: before.parent,
      labels,
      contents: describeContents(directory),
    };
    const outcome = new Map([
      [key, null],
      [name, state],
    ]);
    await this.#call('commit', outcome, () => this.#client.commit(key, name, labels));
  }

  async #remove(): Promise<void> {
    const parents = new Set([...this.#own.values()].map(({ parent }) => parent));
    const name = this.#random.pickIfAny([...this.#own.keys()].filter((own) => !parents.has(own)));
    if (name === undefined) return;
    await this.#call('remove', new Map([[name, null]]), () => this.#client.remove(name));
  }

  async #update(): Promise<void> {
    const name = this.#random.pickIfAny([...this.#own.keys()]);
    const before = name === undefined ? undefined : this.#own.get(name);
    if (name === undefined || before === undefined) return;
    const labels = this.#labels();
    const outcome = new Map([[name, { ...before, labels }]]);
    await this.#call('update', outcome, () => this.#client.update(name, labels, ['labels']));
  }

  async #call<Value>(
    what: string,
    outcome: Outcome,
    ask: () => Promise<Answer<Value>>,
  ): Promise<Value> {
    const { history, position } = this.#options;
    const names = [...outcome.keys()].join(' as ');
    const answered = history.sent(`${what} ${names}`, position(), outcome);
    const answer = await ask();
    if (answer.kind !== 'answered') throw new Error(`${what} of ${names}: ${answer.message}`);
    answered(position());
    this.#count(what);
    for (const [name, state] of outcome) {
      if (state === null) this.#own.delete(name);
      else this.#own.set(name, state);
    }
    return answer.value;
  }

  #name(sort: string): string {
    this.#names += 1;
    return `client-${this.#number}/${sort}-${this.#names}`;
  }

  #pick(kind: Promised['kind']): string | undefined {
    return this.#random.pickIfAny([...this.#own].filter(([, own]) => own.kind === kind))?.[0];
  }

  #labels(): Map<string, string> {
    const labels = new Map([['drawn', String(this.#random.below(1000))]]);
    for (let long = this.#random.below(longLabelsMax + 1); long > 0; long -= 1) {
      labels.set(`long-${long}`, ''.padEnd(longLabelChars, 'long'));
    }
    return labels;
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}
