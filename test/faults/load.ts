/**
 * One of the clients that work while the daemon is killed: random operations, one at a time, each
 * told to the oracle. It changes names of its own; committed names of others serve as parents.
 * Remote layers belong to everybody: who changes one holds its gate alone.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { type Answer, type SnapshotInfo, SnapshotsClient } from './client.js';
import {
  differences,
  type Entry,
  type Oracle,
  since,
  type Span,
  writableDirectory,
} from './oracle.js';
import type { Gates } from './gates.js';
import type { Random } from '../support/random.js';

/** A layer that the daemon's layer store has, and the layer it lies on. */
export interface RemoteTarget {
  readonly chainId: string;
  readonly parent: string;
}

/** What the clients of one round share. */
export interface Round {
  readonly oracle: Oracle;
  readonly targets: readonly RemoteTarget[];
  readonly gates: Gates;
  /** Set just before the kill: from now on a call may stay without an answer. */
  mayBeKilled: boolean;
  /** What was answered, by kind of call; for the round alone. */
  readonly counts: Map<string, number>;
}

const targetLabel = 'containerd.io/snapshot.ref';
const remoteMark = ['containerd.io/snapshot/remote', 'remote snapshot'] as const;
const missingLayer = `sha256:${'0'.repeat(64)}`;
/** Names of each sort that a client has. They come again, as containerd's extract keys do not. */
const namesOfASort = 5;

type Operation = (worker: Worker) => Promise<void>;

/** The client is done for this round: the daemon is gone, or a call never came back. */
class Unanswered extends Error {
  override readonly name = 'Unanswered';
}

export class Worker {
  readonly #round: Round;
  readonly #oracle: Oracle;
  readonly #random: Random;
  readonly #client: SnapshotsClient;
  readonly #prefix: string;

  constructor(round: Round, number: number, random: Random, address: string) {
    this.#round = round;
    this.#oracle = round.oracle;
    this.#random = random;
    this.#client = new SnapshotsClient(address);
    this.#prefix = `client-${number}/`;
  }

  connected(): Promise<void> {
    return this.#client.connected();
  }

  /** Works until the daemon no longer answers, or until it is told to end. */
  async work(until: () => boolean): Promise<void> {
    try {
      while (!until()) await this.#drawOperation()(this);
    } catch (thrown) {
      if (!(thrown instanceof Unanswered)) throw thrown;
    } finally {
      this.#client.close();
    }
  }

  #drawOperation(): Operation {
    const drawn = this.#random.below(totalWeight);
    let sum = 0;
    for (const [weight, operation] of operations) {
      sum += weight;
      if (drawn < sum) return operation;
    }
    return (worker) => worker.stat();
  }

  async prepare(): Promise<void> {
    const key = this.#freeName('key');
    if (key === undefined) return this.remove();
    await this.#prepare('active', key, this.#drawParent(), this.#drawLabels());
  }

  async view(): Promise<void> {
    const key = this.#freeName('key');
    const parent = this.#drawParent();
    if (key !== undefined) await this.#prepare('view', key, parent, this.#drawLabels());
  }

  /** A layer that the store lacks: an ordinary snapshot serves instead. */
  async prepareMissing(): Promise<void> {
    const key = this.#freeName('key');
    if (key === undefined) return;
    const labels = new Map([...this.#drawLabels(), [targetLabel, missingLayer]]);
    await this.#prepare('active', key, '', labels);
  }

  async #prepare(
    kind: 'active' | 'view',
    key: string,
    parent: string,
    labels: ReadonlyMap<string, string>,
  ): Promise<void> {
    const began = Date.now();
    const use = this.#oracle.using(parent);
    const parentKnown = parent === '' || this.#oracle.entries.has(parent);
    const add = (mounts: string | null, fs: string | null, mark: string | null) => {
      const span = since(began);
      const known = { name: key, parent, kind, labels, mounts, fs, mark, usage: null };
      this.#oracle.put({ ...known, created: span, updated: span });
    };
    const answer = await (kind === 'active'
      ? this.#client.prepare(key, parent, labels)
      : this.#client.view(key, parent, labels));
    if (answer.kind === 'unanswered') {
      this.#undetermined(`${kind} ${key} on "${parent}"`, answer.message, {
        happened: (present) => present.has(key),
        apply: () => add(null, null, null),
      });
    }
    const undisturbed = use.end();
    if (answer.kind === 'refused') {
      const mayBeGone = answer.code === status.NOT_FOUND && !(undisturbed && parentKnown);
      if (!mayBeGone || parent === '') this.#violation(`${kind} ${key} on "${parent}"`, answer);
      return;
    }
    this.#count(kind);
    const fs = kind === 'active' ? writableDirectory(answer.value) : null;
    if (fs !== null) writeFileSync(join(fs, 'mark'), key);
    add(answer.value, fs, fs === null ? null : key);
    if (this.#random.chance(0.5)) await this.#statOf(key);
  }

  /** Asks for a layer that the store has. Everybody who asks is told that it is there. */
  async prepareRemote(): Promise<void> {
    const key = this.#freeName('key');
    const wanted = this.#random.pickIfAny(this.#round.targets);
    if (key === undefined || wanted === undefined) return;
    const { chainId, parent } = this.#lowestMissing(wanted);
    if (!this.#round.gates.tryShared(chainId)) return;
    const began = Date.now();
    const labels = new Map([[targetLabel, chainId]]);
    const use = this.#oracle.using(parent);
    const stood = () => {
      if (this.#oracle.entries.has(chainId)) return;
      // Another client's call may be the one that made it.
      const span: Span = { ...since(began), from: 0n };
      const marked = new Map([...labels, remoteMark]);
      const known = { name: chainId, parent, kind: 'committed', labels: marked } as const;
      const untold = { mounts: null, usage: null, fs: null, mark: null };
      this.#oracle.put({ ...known, ...untold, created: span, updated: span });
    };
    const answer = await this.#client.prepare(key, parent, labels);
    if (answer.kind === 'unanswered') {
      this.#undetermined(`remote ${chainId} for ${key}`, answer.message, {
        happened: (present) => present.has(chainId),
        apply: stood,
      });
    }
    const undisturbed = use.end();
    if (answer.kind === 'refused' && answer.code === status.ALREADY_EXISTS) {
      this.#count('remote');
      stood();
      await this.#statOf(chainId);
    } else if (answer.kind === 'answered') {
      const message = 'an ordinary snapshot came for a layer that the store has';
      this.#violation(`remote ${chainId}`, { kind: 'refused', code: status.OK, message });
    } else if (answer.code !== status.NOT_FOUND || undisturbed) {
      this.#violation(`remote ${chainId} on "${parent}"`, answer);
    }
    this.#round.gates.leave(chainId);
  }

  async commit(): Promise<void> {
    const entry = this.#own((own) => own.kind === 'active');
    const name = this.#freeName('name');
    if (entry === undefined || name === undefined) return this.prepare();
    const began = Date.now();
    const labels = this.#drawLabels();
    const use = this.#oracle.using(entry.name);
    const apply = () => {
      const span = since(began);
      this.#oracle.entries.delete(entry.name);
      const changed = { name, kind: 'committed', labels, created: span, updated: span } as const;
      this.#oracle.put({ ...entry, ...changed, mounts: null, usage: null });
    };
    const answer = await this.#client.commit(entry.name, name, labels);
    if (answer.kind === 'unanswered') {
      this.#undetermined(`commit of ${entry.name} as ${name}`, answer.message, {
        happened: (present) => present.has(name),
        apply,
      });
    }
    use.end();
    if (answer.kind === 'refused') {
      this.#violation(`commit of ${entry.name}`, answer);
      return;
    }
    this.#count('commit');
    apply();
    if (this.#random.chance(0.5)) await this.#statOf(name);
  }

  async remove(): Promise<void> {
    const entry = this.#own(() => true);
    if (entry !== undefined) await this.#remove(entry);
  }

  async removeRemote(): Promise<void> {
    await this.#withRemote((entry) => this.#remove(entry));
  }

  async #remove(entry: Entry): Promise<void> {
    const { name } = entry;
    const use = this.#oracle.using(name);
    const childless = this.#oracle.childrenOf(name) === 0;
    const apply = () => void this.#oracle.entries.delete(name);
    const answer = await this.#client.remove(name);
    if (answer.kind === 'unanswered') {
      this.#undetermined(`removal of ${name}`, answer.message, {
        happened: (present) => !present.has(name),
        apply,
      });
    }
    const undisturbed = use.end();
    if (answer.kind === 'answered') {
      this.#count('remove');
      apply();
      return;
    }
    const hasChildren = answer.code === status.FAILED_PRECONDITION && !(undisturbed && childless);
    if (!hasChildren) this.#violation(`removal of ${name}`, answer);
  }

  async update(): Promise<void> {
    const entry = this.#own(() => true);
    if (entry !== undefined) await this.#update(entry);
  }

  async updateRemote(): Promise<void> {
    await this.#withRemote((entry) => this.#update(entry));
  }

  async #update(before: Entry): Promise<void> {
    // With the time of the last change known exactly, a new time shows that the update happened.
    if (before.updated.from !== before.updated.to) await this.#statOf(before.name);
    const entry = this.#oracle.entries.get(before.name) ?? before;
    const began = Date.now();
    const replaces = this.#random.chance(0.3) && !this.#isRemote(entry);
    const given = this.#drawLabels();
    const path = `label-${this.#random.below(3)}`;
    const labels = replaces ? given : new Map(entry.labels);
    if (!replaces) {
      const value = given.get(path);
      if (value === undefined) labels.delete(path);
      else labels.set(path, value);
    }
    const paths = replaces ? ['labels'] : [`labels.${path}`];
    const answer = await this.#client.update(entry.name, given, paths);
    if (answer.kind === 'unanswered') {
      this.#undetermined(`update of ${entry.name}`, answer.message, {
        happened: (present) => present.get(entry.name)?.updated !== entry.updated.from,
        apply: () => this.#oracle.put({ ...entry, labels, updated: since(began) }),
      });
    }
    if (answer.kind === 'refused') {
      this.#violation(`update of ${entry.name}`, answer);
      return;
    }
    this.#count('update');
    const promised = { ...entry, labels, updated: since(began) };
    this.#compare('update', promised, answer.value);
    this.#oracle.put(promised);
    this.#oracle.learn(answer.value);
  }

  async stat(): Promise<void> {
    const entry = this.#own(() => true);
    if (entry !== undefined) await this.#statOf(entry.name);
  }

  async #statOf(name: string): Promise<void> {
    const answer = this.#read(`stat of ${name}`, await this.#client.stat(name));
    const entry = this.#oracle.entries.get(name);
    if (answer === null || entry === undefined) return;
    this.#count('stat');
    this.#compare('stat', entry, answer);
    this.#oracle.learn(answer);
  }

  async mounts(): Promise<void> {
    const entry = this.#own((own) => own.kind !== 'committed');
    if (entry === undefined) return;
    const mounts = this.#read(`mounts of ${entry.name}`, await this.#client.mounts(entry.name));
    if (mounts === null) return;
    this.#count('mounts');
    if (entry.mounts !== null && entry.mounts !== mounts) {
      this.#oracle.violations.push(`${entry.name}: mounts ${entry.mounts} became ${mounts}`);
    }
    this.#oracle.put({ ...entry, mounts });
  }

  async usage(): Promise<void> {
    const entry = this.#own(() => true);
    if (entry === undefined) return;
    const usage = this.#read(`usage of ${entry.name}`, await this.#client.usage(entry.name));
    if (usage === null) return;
    this.#count('usage');
    if (entry.usage !== null && entry.usage !== usage) {
      this.#oracle.violations.push(`${entry.name}: usage ${entry.usage} became ${usage}`);
    }
    this.#oracle.put({ ...entry, usage });
  }

  async cleanup(): Promise<void> {
    this.#read('cleanup', await this.#client.cleanup());
    this.#count('cleanup');
  }

  /** A key that is taken must be refused, and nothing else may come of it. */
  async prepareTaken(): Promise<void> {
    const entry = this.#own(() => true);
    if (entry === undefined) return;
    const answer = await this.#client.prepare(entry.name, '', new Map());
    if (answer.kind === 'unanswered') this.#gone('prepare on a taken key', answer.message);
    if (answer.kind === 'refused' && answer.code === status.ALREADY_EXISTS) return;
    const message = answer.kind === 'refused' ? answer.message : 'it was prepared';
    this.#oracle.violations.push(`prepare on the taken key ${entry.name}: ${message}`);
  }

  async #withRemote(work: (entry: Entry) => Promise<void>): Promise<void> {
    const chainId = this.#random.pickIfAny(this.#round.targets)?.chainId;
    const entry = chainId === undefined ? undefined : this.#oracle.entries.get(chainId);
    if (chainId === undefined || entry === undefined) return;
    if (!this.#round.gates.tryAlone(chainId)) return;
    await work(entry);
    this.#round.gates.leave(chainId);
  }

  /** A layer can only be asked for on the one below it. */
  #lowestMissing(wanted: RemoteTarget): RemoteTarget {
    let lowest = wanted;
    while (lowest.parent !== '' && !this.#oracle.entries.has(lowest.parent)) {
      const below = this.#round.targets.find(({ chainId }) => chainId === lowest.parent);
      if (below === undefined) break;
      lowest = below;
    }
    return lowest;
  }

  #isRemote({ name }: Entry): boolean {
    return this.#round.targets.some(({ chainId }) => chainId === name);
  }

  #freeName(sort: 'key' | 'name'): string | undefined {
    const first = this.#random.below(namesOfASort);
    for (let index = 0; index < namesOfASort; index += 1) {
      const name = `${this.#prefix}${sort}-${(first + index) % namesOfASort}`;
      if (!this.#oracle.entries.has(name)) return name;
    }
    return undefined;
  }

  #own(fits: (entry: Entry) => boolean): Entry | undefined {
    const own = [...this.#oracle.entries.values()].filter(
      (entry) => entry.name.startsWith(this.#prefix) && fits(entry),
    );
    return this.#random.pickIfAny(own);
  }

  #drawParent(): string {
    if (this.#random.chance(0.3)) return '';
    const committed = [...this.#oracle.entries.values()].filter(({ kind }) => kind === 'committed');
    return this.#random.pickIfAny(committed)?.name ?? '';
  }

  #drawLabels(): Map<string, string> {
    const labels = new Map<string, string>();
    for (let index = 0; index < 3; index += 1) {
      if (this.#random.chance(0.4)) labels.set(`label-${index}`, `${this.#random.below(1000)}`);
    }
    return labels;
  }

  /** The value; null after a refusal, which no reading of one's own snapshots may meet. */
  #read<Value>(what: string, answer: Answer<Value>): Value | null {
    if (answer.kind === 'answered') return answer.value;
    if (answer.kind === 'unanswered') this.#gone(what, answer.message);
    this.#violation(what, answer);
    return null;
  }

  #compare(what: string, entry: Entry, info: SnapshotInfo): void {
    const found = differences(entry, info);
    this.#oracle.violations.push(...found.map((line) => `while alive, by ${what}: ${line}`));
  }

  #undetermined(
    what: string,
    message: string,
    effect: Omit<Oracle['undetermined'][number], 'what'>,
  ): never {
    this.#oracle.undetermined.push({ what, ...effect });
    this.#gone(what, message);
  }

  #gone(what: string, message: string): never {
    if (!this.#round.mayBeKilled) {
      this.#oracle.violations.push(`no answer from a living daemon: ${what}: ${message}`);
    }
    throw new Unanswered(what);
  }

  #violation(what: string, answer: Extract<Answer<unknown>, { kind: 'refused' }>): void {
    this.#oracle.violations.push(`${what}: ${status[answer.code]}: ${answer.message}`);
  }

  #count(what: string): void {
    this.#round.counts.set(what, (this.#round.counts.get(what) ?? 0) + 1);
  }
}

const operations: readonly (readonly [weight: number, operation: Operation])[] = [
  [24, (worker) => worker.prepare()],
  [8, (worker) => worker.view()],
  [16, (worker) => worker.commit()],
  [18, (worker) => worker.remove()],
  [8, (worker) => worker.update()],
  [6, (worker) => worker.stat()],
  [5, (worker) => worker.mounts()],
  [3, (worker) => worker.usage()],
  [12, (worker) => worker.prepareRemote()],
  [6, (worker) => worker.removeRemote()],
  [2, (worker) => worker.updateRemote()],
  [2, (worker) => worker.prepareMissing()],
  [2, (worker) => worker.prepareTaken()],
  [1, (worker) => worker.cleanup()],
];
const totalWeight = operations.reduce((sum, [weight]) => sum + weight, 0);
