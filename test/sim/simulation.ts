/**
 * One run: a seed random a world, a workload and everything that goes wrong. A run of fewer steps
 * with the same seed is the beginning of a longer one.
 */
import { createHash } from 'node:crypto';
import type { SnapshotInfo } from '../../src/machines/snapshots/info.js';
import { snapshotName } from '../../src/base/units.js';
import { drawCall, KEYS, make, NAMES, type Call, type Outcome } from './calls.js';
import { Checks, textOfInfo, type Written } from './checks.js';
import { ClientModel, describeCall } from './client-model.js';
import { Random } from '../support/random.js';
import type { ClientName } from './sim-clients.js';
import type { Life } from './life.js';
import { REFS, SimHost } from './sim-host.js';
import { LAYER_HEALTH } from './sim-mounts.js';

export interface RunResult {
  readonly seed: number;
  readonly steps: number;
  /** What was broken, or null. */
  readonly violation: string | null;
  /** The step at which that was noticed; null when it was in the calm at the end. */
  readonly brokenAt: number | null;
  /** The run's event log, one line an event. */
  readonly trace: readonly string[];
  readonly digest: string;
  readonly lives: number;
  /** How often each thing happened. */
  readonly counts: ReadonlyMap<string, number>;
}

/** What the run does in one step. */
const ACTIONS = {
  call: 70,
  burst: 4,
  wait: 12,
  waitLong: 3,
  abort: 5,
  kill: 1.2,
  powerCut: 1.2,
  stop: 0.6,
  jump: 1,
  vanish: 2,
  health: 4,
  clients: 2,
  calm: 1.5,
} as const;

const IN_FLIGHT_MAX = 8;
/** Longer than any limit, retry or back-off of the daemon. */
const PATIENCE_MILLIS = 4 * 3_600_000;
/** What the API allows a call at most. */
const BUDGET_MILLIS = 40_000;

interface InFlight {
  readonly call: Call;
  readonly client: ClientName;
  readonly life: Life;
  readonly controller: AbortController;
}

/** What was so when a call was made. */
interface AtCall {
  readonly client: ClientName;
  readonly isSameClient: boolean;
  readonly since: number;
  /** What stood in the snapshot that is to be committed. */
  readonly written: Written | null;
  /** What List must answer. */
  readonly expected: readonly string[];
}

/** A list that is read slowly. */
interface SlowReader {
  readonly infos: Iterator<SnapshotInfo>;
  readonly expected: readonly string[];
  readonly seen: string[];
}

export async function runSimulation(seed: number, steps: number): Promise<RunResult> {
  const run = new Simulation(seed, steps);
  const onUnhandled = (reason: unknown) => run.unhandled(reason);
  process.on('unhandledRejection', onUnhandled);
  try {
    return await run.run();
  } finally {
    process.off('unhandledRejection', onUnhandled);
  }
}

class Simulation {
  readonly #seed: number;
  readonly #steps: number;
  readonly #random: Random;
  readonly #trace: string[] = [];
  readonly #counts = new Map<string, number>();
  readonly #host: SimHost;
  readonly #checks: Checks;
  readonly #model = new ClientModel();
  readonly #inFlight = new Map<string, InFlight>();
  #unanswered: { readonly tag: string; readonly life: Life }[] = [];
  #readers: SlowReader[] = [];
  #calls = 0;

  constructor(seed: number, steps: number) {
    this.#seed = seed;
    this.#steps = steps;
    const random = new Random(String(seed));
    this.#random = random.fork('workload');
    this.#host = new SimHost(random, (line) => {
      this.#trace.push(`${this.#host.clock.monotonicMillis().toFixed(3)} ${line}`);
    });
    this.#checks = new Checks(this.#host);
  }

  async run(): Promise<RunResult> {
    let brokenAt: number | null = null;
    for (let step = 1; step <= this.#steps && brokenAt === null; step += 1) {
      this.#say(`step ${step}`);
      await this.#guarded(() => this.#stepAndLook());
      if (this.#host.broken !== null) brokenAt = step;
    }
    if (this.#host.broken === null) await this.#guarded(() => this.#calm());
    // What still runs gets no more answers.
    this.#host.life.isAlive = false;
    return {
      seed: this.#seed,
      steps: this.#steps,
      violation: this.#host.broken?.message ?? null,
      brokenAt,
      trace: this.#trace,
      digest: createHash('sha256').update(this.#trace.join('\n')).digest('hex'),
      lives: this.#host.lives,
      counts: this.#counts,
    };
  }

  /** Node ends the process when a rejected promise is nobody's. */
  unhandled(reason: unknown): void {
    this.#host.break(`a rejection that nobody handles: ${String(reason)}`);
  }

  /** Answers are values: what the daemon throws at its caller is a broken rule. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      this.#host.break(`thrown: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }

  async #stepAndLook(): Promise<void> {
    await this.#step();
    this.#readOn();
    this.#checks.moment();
  }

  async #step(): Promise<void> {
    const host = this.#host;
    if (host.state === 'down') host.start();
    const action = this.#random.weighted(ACTIONS);
    const isUp = host.state === 'serving';
    if (host.hasFailed && this.#random.chance(0.4)) this.#die(this.#random.chance(0.5));
    else if (action === 'call' && isUp) this.#call();
    else if (action === 'burst' && isUp) for (let left = 5; left > 0; left -= 1) this.#call();
    else if (action === 'abort') this.#abort();
    else if (action === 'kill' || action === 'powerCut') this.#die(action === 'powerCut');
    else if (action === 'stop' && isUp) await this.#stop();
    else if (action === 'calm' && isUp) await this.#calm();
    else this.#change(action);
    await host.advance(this.#pause(action));
  }

  /** Changes of the world around the daemon. */
  #change(action: keyof typeof ACTIONS): void {
    const { clients, clock, layers, mounts } = this.#host;
    if (action === 'clients') {
      this.#say(clients.change(this.#random));
      this.#model.clientsChanged();
    } else if (action === 'jump') {
      const millis = this.#random.between(-7_200_000, 7_200_000);
      this.#say(`the clock jumps by ${millis} ms`);
      clock.jump(millis);
    } else if (action === 'vanish' && mounts.entries.length > 0) {
      const { mountpoint } = this.#random.pick(mounts.entries);
      this.#say(`the mount on ${mountpoint} vanishes`);
      mounts.drop(mountpoint);
    } else if (action === 'health') {
      const ref = this.#random.pick(REFS);
      const health = this.#random.weighted(LAYER_HEALTH);
      this.#say(`${ref} is ${health} from now on`);
      layers.become(ref, health);
    }
  }

  #pause(action: keyof typeof ACTIONS): number {
    if (action === 'waitLong') return this.#random.between(1_000, 400_000);
    if (action === 'wait') return this.#random.between(5, 400);
    return this.#random.next() * 4;
  }

  #call(): void {
    const { opened, life } = this.#host;
    if (opened === null || this.#inFlight.size >= IN_FLIGHT_MAX) return;
    const client = this.#random.pick(this.#host.clients.running);
    void this.#begin(drawCall(this.#random, this.#host.infos()), client, life);
  }

  #begin(call: Call, client: ClientName, life: Life): Promise<Outcome | null> {
    const { opened, clock, clients } = this.#host;
    if (opened === null) return Promise.resolve(null);
    this.#calls += 1;
    const tag = `call-${this.#calls}`;
    const written = call.kind === 'Commit' ? this.#write(call.key, tag) : null;
    const expected = call.kind === 'List' ? this.#checks.expectedList(call.filters) : [];
    this.#say(`${tag} ${client} ${describeCall(call)}`);
    this.#count(call.kind);
    const since = clock.monotonicMillis();
    const controller = new AbortController();
    const cancel = life.clock.schedule(BUDGET_MILLIS, () => controller.abort(new Error('budget')));
    this.#inFlight.set(tag, { call, client, life, controller });
    this.#model.begin(tag, call, client, clients.knownToRun());
    const from = { client: clients.callerOf(client), tag };
    return make(opened.snapshotter, call, from, controller.signal).then((outcome) => {
      cancel();
      if (!life.isAlive) return null;
      // One that has ended since gets an answer that does not matter.
      const isSameClient = clients.callerOf(client).startedAt === from.client.startedAt;
      this.#end(tag, call, outcome, { client, isSameClient, written, expected, since });
      return outcome;
    });
  }

  #end(tag: string, call: Call, outcome: Outcome, at: AtCall): void {
    const { client, isSameClient, written, expected, since } = at;
    this.#inFlight.delete(tag);
    const answer =
      outcome.kind === 'ok'
        ? 'ok'
        : outcome.kind === 'refused'
          ? outcome.refusal.name
          : `threw ${outcome.fault.message}`;
    this.#say(`${tag} ${answer}`);
    this.#count(`${call.kind} ${outcome.kind === 'threw' ? outcome.kind : answer}`);
    this.#checks.reply(tag, call, outcome, written, since);
    if (isSameClient) this.#checks.forClient(tag, call, outcome, client);
    const wrong = this.#model.end(tag, outcome);
    if (wrong !== null) this.#host.break(`${tag} ${wrong}`);
    if (outcome.kind !== 'ok') {
      this.#unanswered.push({ tag, life: this.#host.life });
    } else if (outcome.reply.what === 'infos') {
      this.#readers.push({ infos: outcome.reply.infos, expected, seen: [] });
    } else if (call.kind === 'Prepare' && this.#random.chance(0.7)) {
      this.#write(call.key, `${tag}-written`);
    }
  }

  /** A client writes into the snapshot it was given; answers what stands in which one then. */
  #write(key: string, text: string): Written | null {
    const { tree, witness } = this.#host;
    const state = witness.truth.forest.holderOf(snapshotName(key));
    if (state === undefined) return null;
    // Not into what nobody was told of yet, and not while it is being committed.
    const isBusy = [...this.#inFlight.values()].some(
      ({ call }) => 'key' in call && call.key === key,
    );
    const isOurs = state.status === 'active' && state.name === key && !isBusy;
    const name = String(state.id);
    if (isOurs && tree.get(name)?.hasFs === true) tree.change(name, { content: text });
    return { id: state.id, content: tree.get(name)?.content ?? '' };
  }

  #abort(): void {
    const tags = [...this.#inFlight.keys()];
    if (tags.length === 0) return;
    const tag = this.#random.pick(tags);
    this.#say(`${tag} is cancelled`);
    this.#inFlight.get(tag)?.controller.abort(new Error('the client has gone'));
  }

  #die(byPowerCut: boolean): void {
    if (this.#host.state === 'down') return;
    this.#count(byPowerCut ? 'power cut' : 'kill');
    if (byPowerCut) this.#host.powerCut();
    else this.#host.kill();
    this.#lose();
  }

  async #stop(): Promise<void> {
    this.#count('stop');
    await this.#host.stop();
    this.#lose();
  }

  #lose(): void {
    this.#inFlight.clear();
    this.#unanswered = [];
    this.#readers = [];
    this.#model.loseAll();
  }

  /**
   * Nothing fails any more, and everything comes to its end. Then the promises about rest are
   * looked at, and sometimes the daemon is started again, which must change nothing.
   */
  async #calm(): Promise<void> {
    const host = this.#host;
    this.#count('calm');
    this.#say('calm');
    host.weather.isCalm = true;
    host.layers.healAll();
    // The client that uses everything; it sees all that is mounted.
    if (!host.clients.isRunning('first')) {
      host.clients.start('first');
      this.#model.clientsChanged();
    }
    const startsAfresh = this.#random.chance(0.4);
    if (startsAfresh || host.hasFailed) this.#die(startsAfresh && this.#random.chance(0.4));
    await this.#serveAgain();
    await this.#comeToRest();
    // A start to which nothing happens brings to its end all that a crash has cut short.
    if (startsAfresh && host.broken === null) this.#checks.nothingUnderWay();
    // The last fault before the calm may only now have been told.
    if (host.hasFailed) {
      this.#die(false);
      await this.#serveAgain();
      await this.#comeToRest();
    }
    if (host.broken === null) await this.#useEverything();
    if (host.broken === null) {
      for (const { tag, life } of this.#unanswered) {
        if (life === host.life) this.#checks.leftNothing(tag);
      }
      this.#unanswered = [];
      this.#checks.moment();
      this.#checks.rest();
    }
    const isWhole = !host.mayHaveLostDirectories;
    if (host.broken === null && isWhole && this.#random.chance(0.4)) await this.#startTwice();
    host.weather.isCalm = false;
  }

  async #serveAgain(): Promise<void> {
    const host = this.#host;
    for (let tries = 0; tries < 3 && host.state !== 'serving'; tries += 1) {
      if (host.state === 'down') host.start();
      await host.advance(600_000, () => host.state !== 'starting');
    }
    if (host.state !== 'serving') host.break('the daemon does not start');
  }

  async #comeToRest(): Promise<void> {
    const host = this.#host;
    const actors = () => host.opened?.snapshotter.actors() ?? [];
    const isQuiet = () => this.#inFlight.size === 0 && actors().length === 0;
    host.life.release();
    await host.advance(5);
    await host.advance(PATIENCE_MILLIS, isQuiet);
    if (!isQuiet()) {
      const waiting = [...this.#inFlight].map(([tag, { call }]) => `${tag} ${describeCall(call)}`);
      const running = actors().map(({ effect, snapshot }) => `${effect} ${snapshot ?? ''}`);
      host.break(`this never ends: ${[...waiting, ...running].join(', ')}`);
      return;
    }
    // The end of what nobody sees any more is written in its own time.
    await host.advance(10_000);
    // What was in line to be written may have happened or not: nothing can be learned now.
    if (host.hasFailed) return;
    this.#readOn(Infinity);
    this.#model.calm();
    for (const name of [...KEYS, ...NAMES]) {
      const found = host.opened?.snapshotter.stat(snapshotName(name));
      if (found === undefined) continue;
      const wrong = this.#model.look(name, found.ok ? found.value : null);
      if (wrong !== null) host.break(wrong);
    }
  }

  /** In a calm every layer can be used, and Cleanup leaves nothing behind. */
  async #useEverything(): Promise<void> {
    const layers = this.#host.mayHaveLostDirectories
      ? []
      : this.#host.infos().filter(({ kind }) => kind === 'committed');
    for (const { name } of layers) {
      const view = { kind: 'View', key: 'canary', parent: name, labels: new Map() } as const;
      await this.#mustDo(view);
      await this.#mustDo({ kind: 'Mounts', name: 'canary' });
      await this.#mustDo({ kind: 'Remove', name: 'canary' });
    }
    for (const name of this.#host.mappedNames()) await this.#mustDo({ kind: 'Mounts', name });
    await this.#mustDo({ kind: 'Prepare', key: 'canary', parent: null, labels: new Map() });
    await this.#mustDo({ kind: 'Usage', name: 'canary' });
    await this.#mustDo({ kind: 'Commit', key: 'canary', name: 'canary-layer', labels: new Map() });
    await this.#mustDo({ kind: 'Remove', name: 'canary-layer' });
    await this.#mustDo({ kind: 'Cleanup' });
    await this.#comeToRest();
  }

  async #mustDo(call: Call): Promise<void> {
    const host = this.#host;
    if (host.broken !== null) return;
    let outcome: Outcome | null = null;
    let isOver = false;
    void this.#begin(call, 'first', host.life).then((came) => {
      outcome = came;
      isOver = true;
    });
    await host.advance(BUDGET_MILLIS * 2, () => isOver);
    const ended = outcome as Outcome | null;
    if (ended?.kind === 'ok') return;
    const answer =
      ended === null
        ? 'no answer'
        : ended.kind === 'refused'
          ? ended.refusal.message
          : ended.fault.message;
    host.break(`in a calm, ${describeCall(call)}: ${answer}`);
  }

  async #startTwice(): Promise<void> {
    const host = this.#host;
    const before = this.#shown();
    const layers = [...host.witness.truth.forest.values()];
    if (layers.some(({ status }) => status === 'committed.unavailable')) return;
    const reached = host.witness.position;
    if (this.#random.chance(0.5)) await this.#stop();
    else this.#die(false);
    await this.#serveAgain();
    await this.#comeToRest();
    const changed = host.witness.records
      .slice(reached)
      .filter(({ stream }) => stream !== 'daemon')
      .map(({ type, stream }) => `${type} ${stream}`);
    if (changed.length > 0) host.break(`a restart at rest has changed: ${changed.join(', ')}`);
    if (this.#shown() !== before) host.break('a restart at rest shows another List');
  }

  #shown(): string {
    const listed = this.#host.opened?.snapshotter.list([]);
    return listed?.ok === true ? [...listed.value].map(textOfInfo).sort().join('\n') : '';
  }

  /** Slow readers of a List take a few more; at the end it must be the cut it was begun with. */
  #readOn(most = 3): void {
    this.#readers = this.#readers.filter(({ infos, expected, seen }) => {
      for (let left = most; left > 0; left -= 1) {
        const next = infos.next();
        if (next.done === true) {
          const isSame = seen.sort().join('\n') === expected.join('\n');
          if (!isSame) this.#host.break(`List is not a cut: ${seen.join(', ')}`);
          return false;
        }
        seen.push(textOfInfo(next.value));
      }
      return true;
    });
  }

  #say(line: string): void {
    this.#trace.push(`${this.#host.clock.monotonicMillis().toFixed(3)} ${line}`);
  }

  #count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }
}
