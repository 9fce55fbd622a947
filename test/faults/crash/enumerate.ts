/**
 * Goes through all boundaries of a scenario: a fresh machine for each, the same steps, death at
 * the boundary, then a new service and the checks. And through pairs: for each different state
 * that the first death leaves, all boundaries of the start that follows.
 */
import {
  compareLooks,
  compareOwners,
  comparePromised,
  compareService,
  startedAgain,
  verified,
  type Promised,
  type World,
} from './checks.js';
import { Gate } from './gate.js';
import { Machine, type MachineSettings } from './machine.js';
import { observe } from './observed.js';
import { Session, type Step } from './session.js';
import { Random } from '../../support/random.js';

export interface Scenario {
  readonly name: string;
  readonly settings: MachineSettings;
  /**
   * `act` begins with a service that runs, if nothing else is said. Else it begins with its start:
   * no mount is left when the power was gone, and an empty disk knows no `setUp`.
   */
  readonly begins?: 'with the power back' | 'on an empty disk';
  readonly setUp: readonly Step[];
  readonly act: readonly Step[];
  /** Boundaries that must be among those found, so that the enumeration cannot run dry. */
  readonly passes: readonly string[];
  /** Names and kinds that the whole leads to, in order. */
  readonly leadsTo: readonly string[];
}

/** How the world goes on behind the death of the service. */
export interface Death {
  readonly how: string;
  readonly powerWasCut: boolean;
  readonly befalls: (machine: Machine) => void | Promise<void>;
}

export const kill: Death = {
  how: 'kill',
  powerWasCut: false,
  befalls: (machine) => machine.killed(),
};

const cut = (how: string, draw: () => () => number): Death => ({
  how,
  powerWasCut: true,
  befalls: (machine) => machine.powerCut(draw()),
});

/** All that was not synced is lost; or none of it is, but mounts are gone. */
export const powerCut = cut('power cut', () => () => 1);
export const gentleCut = cut('power cut that loses nothing', () => () => 0);
/** What the service took over from the dead one must be as safe as if it were its own. */
export const killThenCut: Death = {
  how: 'kill, a start, and a power cut',
  powerWasCut: true,
  befalls: async (machine) => {
    machine.killed();
    await new Session(machine, new Gate()).begin();
    machine.powerCut(() => 1);
  },
};

/** Sector by sector, name by name. */
export const tornCut = (seed: number): Death => cut(`torn power cut ${seed}`, () => draws(seed));

/** Numbers from 0 up to 1, repeatable from the seed. */
export function draws(seed: number): () => number {
  const random = new Random(seed);
  return () => random.next();
}

interface Reference {
  /** Before the first step of `act`, and after each. */
  readonly worlds: readonly World[];
  readonly boundaries: readonly string[];
}

/** The same steps without a crash. */
async function referenceOf(scenario: Scenario): Promise<Reference> {
  const machine = new Machine(scenario.settings);
  try {
    const { session } = await setUp(scenario, machine);
    session.process.gate.arm(Infinity);
    if (scenario.begins !== undefined && (await session.begin()) === 'died')
      throw new Error('died');
    const worlds = [await observe(machine)];
    for (const step of scenario.act) {
      await session.takeAll([step]);
      worlds.push(await observe(machine));
    }
    const boundaries = [...session.process.gate.names];
    const lines = [...(await compareOwners(machine)), ...session.process.faults];
    if (lines.length > 0) throw new Error(`without any crash: ${lines.join('\n')}`);
    await session.close();
    return { worlds, boundaries };
  } finally {
    machine.remove();
  }
}

async function setUp(scenario: Scenario, machine: Machine): Promise<{ session: Session }> {
  if (scenario.begins === 'on an empty disk') {
    return { session: new Session(machine, new Gate()) };
  }
  const session = new Session(machine, new Gate());
  await session.begin();
  await session.takeAll(scenario.setUp);
  if (scenario.begins === undefined) {
    // What is set up is old and long on disk.
    machine.tree.allSynced();
    return { session };
  }
  await gentleCut.befalls(machine);
  return { session: new Session(machine, new Gate()) };
}

interface Dead {
  readonly machine: Machine;
  readonly diedAt: string;
  /** How many steps were done. */
  readonly stepsDone: number;
  readonly session: Session;
}

/** A machine whose service died at the boundary; null when there are fewer boundaries. */
async function dieAt(scenario: Scenario, boundary: number): Promise<Dead | null> {
  const machine = new Machine(scenario.settings);
  try {
    const { session } = await setUp(scenario, machine);
    const { gate } = session.process;
    gate.arm(boundary);
    const dead = (stepsDone: number): Dead => {
      const diedAt = gate.diedAt ?? '';
      return { machine, diedAt, stepsDone, session };
    };
    if (scenario.begins !== undefined && (await session.begin()) === 'died') return dead(-1);
    for (const [index, step] of scenario.act.entries()) {
      if ((await session.take(step)) === 'died') return dead(index);
    }
    // Its end is no part of the scenario.
    gate.arm(Infinity);
    await session.close();
  } catch (thrown) {
    machine.remove();
    throw thrown;
  }
  machine.remove();
  return null;
}

function promisedOf(reference: Reference, dead: Dead, powerWasCut: boolean): Promised {
  const { worlds } = reference;
  const before = worlds[Math.max(0, dead.stepsDone)] ?? new Map();
  const after = worlds[dead.stepsDone + 1] ?? before;
  const records = dead.stepsDone < 0 ? [] : dead.session.records;
  return { before, after, records, powerWasCut };
}

/** Starts the service on what is left, looks, starts it again, goes on with the steps. */
async function checkAfter(
  scenario: Scenario,
  reference: Reference,
  dead: Dead,
  powerWasCut: boolean,
  onStarted: (boundaries: number) => void,
): Promise<string[]> {
  const { machine } = dead;
  const gate = new Gate();
  gate.arm(Infinity);
  const first = new Session(machine, gate);
  await first.begin();
  onStarted(gate.names.length);
  const found = await observe(machine);
  const promised = promisedOf(reference, dead, powerWasCut);
  const lines = [
    ...comparePromised(promised, found),
    ...compareService(first, found),
    ...(await compareOwners(machine)),
    ...(await verified(machine)),
  ];
  const again = await startedAgain(machine);
  lines.push(...again.lines);
  if (lines.length > 0) return lines;
  // As a client would: what was not answered is asked again.
  const { session } = again;
  const unanswered = promised.records.filter(({ answer }) => answer === null);
  for (const { call } of unanswered) await session.takeAll([[call]]);
  await session.takeAll(scenario.act.slice(Math.max(0, dead.stepsDone + 1)));
  const end = await observe(machine);
  lines.push(
    ...compareLooks(reference.worlds.at(-1) ?? new Map(), end, powerWasCut),
    ...compareService(session, end),
    ...(await compareOwners(machine)),
  );
  await session.close();
  return [...lines, ...(await verified(machine))];
}

/** What had been acknowledged at a death. */
const wordOf = ({ session, stepsDone }: Dead): string =>
  `${stepsDone} ${session.records.map(({ answer }) => answer).join()}`;

export interface Counts {
  boundaries: number;
  /** Deaths that left a state like none before. */
  states: number;
  deaths: number;
  pairs: number;
  pairStates: number;
  pairsLeftOut: number;
}

export interface Choice {
  readonly deaths: readonly Death[];
  /** Those of them behind which the service dies again. */
  readonly firstDeaths: readonly Death[];
  /** The second of two deaths. */
  readonly secondDeaths: readonly Death[];
  /** Of the pairs, every how-manieth is tried. */
  readonly stride: number;
}

class Enumeration {
  readonly #scenario: Scenario;
  readonly #reference: Reference;
  readonly #choice: Choice;
  readonly #seen = new Set<string>();
  readonly #counts: Counts = {
    boundaries: 0,
    states: 0,
    deaths: 0,
    pairs: 0,
    pairStates: 0,
    pairsLeftOut: 0,
  };
  #turn = 0;

  constructor(scenario: Scenario, reference: Reference, choice: Choice) {
    this.#scenario = scenario;
    this.#reference = reference;
    this.#choice = choice;
  }

  async run(): Promise<Counts> {
    while (await this.#atBoundary(this.#counts.boundaries)) this.#counts.boundaries += 1;
    return this.#counts;
  }

  async #atBoundary(boundary: number): Promise<boolean> {
    const dead = await dieAt(this.#scenario, boundary);
    if (dead === null) return false;
    // After one step and before the next the world is the same.
    if (this.#isKnown(`${dead.machine.digest()} ${wordOf(dead)}`)) {
      dead.machine.remove();
      return true;
    }
    this.#counts.states += 1;
    let machine: Dead | null = dead;
    for (const death of this.#choice.deaths) {
      const startHas = await this.#single(machine ?? (await this.#dieAgain(boundary)), death);
      machine = null;
      if (this.#choice.firstDeaths.includes(death)) await this.#pairs(boundary, death, startHas);
    }
    return true;
  }

  /** Answers how many boundaries the start behind it has. */
  async #single(dead: Dead, death: Death): Promise<number> {
    this.#counts.deaths += 1;
    let startHas = 0;
    await this.#examined(dead, `${death.how} ${dead.diedAt}`, async () => {
      await death.befalls(dead.machine);
      return this.#check(dead, death.powerWasCut, (boundaries) => {
        startHas = boundaries;
      });
    });
    return startHas;
  }

  async #pairs(boundary: number, first: Death, startHas: number): Promise<void> {
    for (const second of this.#choice.secondDeaths) {
      for (let at = 0; at < startHas; at += 1) {
        this.#turn += 1;
        if (this.#turn % this.#choice.stride === 0) await this.#pair(boundary, first, at, second);
        else this.#counts.pairsLeftOut += 1;
      }
    }
  }

  async #pair(boundary: number, first: Death, at: number, second: Death): Promise<void> {
    const dead = await this.#dieAgain(boundary);
    const how = `${first.how} ${dead.diedAt}, then ${second.how} at boundary ${at} of the start`;
    await this.#examined(dead, how, async () => {
      await first.befalls(dead.machine);
      const gate = new Gate();
      gate.arm(at);
      const outcome = await new Session(dead.machine, gate).begin();
      if (outcome !== 'died') return ['two equal starts differ'];
      this.#counts.pairs += 1;
      if (this.#isKnown(`${second.how} ${dead.machine.digest()} ${wordOf(dead)}`)) return [];
      this.#counts.pairStates += 1;
      await second.befalls(dead.machine);
      const powerWasCut = first.powerWasCut || second.powerWasCut;
      const lines = await this.#check(dead, powerWasCut);
      return lines.map((line) => `${line} (which is ${gate.diedAt ?? ''})`);
    });
  }

  async #dieAgain(boundary: number): Promise<Dead> {
    const dead = await dieAt(this.#scenario, boundary);
    if (dead === null) throw new Error('two equal runs differ');
    return dead;
  }

  #check(
    dead: Dead,
    powerWasCut: boolean,
    onStarted: (boundaries: number) => void = () => undefined,
  ) {
    return checkAfter(this.#scenario, this.#reference, dead, powerWasCut, onStarted);
  }

  #isKnown(state: string): boolean {
    return this.#seen.size === this.#seen.add(state).size;
  }

  async #examined(dead: Dead, how: string, examine: () => Promise<string[]>): Promise<void> {
    try {
      const lines = await examine();
      if (lines.length > 0) throw new Error(lines.join('\n'));
    } catch (cause) {
      const what = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
      throw new Error(`${this.#scenario.name}: ${how}: ${what}`, { cause });
    } finally {
      dead.machine.remove();
    }
  }
}

export async function enumerate(scenario: Scenario, choice: Choice): Promise<Counts> {
  const reference = await referenceOf(scenario);
  for (const wanted of scenario.passes) {
    if (!reference.boundaries.some((name) => name.startsWith(wanted))) {
      const names = reference.boundaries.join('\n');
      throw new Error(`${scenario.name} never passes "${wanted}", only:\n${names}`);
    }
  }
  const end = [...(reference.worlds.at(-1) ?? [])].map(([name, { kind }]) => `${name} ${kind}`);
  if (end.sort().join() !== [...scenario.leadsTo].sort().join()) {
    throw new Error(`${scenario.name} leads to ${end.join()}`);
  }
  return new Enumeration(scenario, reference, choice).run();
}
