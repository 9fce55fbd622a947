/**
 * Where a process can be stopped dead. Everything that it does to the world, and every reply,
 * goes through its gate, which counts these boundaries and names them. At the chosen one the
 * process dies: nothing of it gets through any more, and nothing ever answers it.
 */

/** Thrown where a synchronous call cannot simply never return. Its cleaning up finds the gate shut. */
export class Died extends Error {
  override readonly name = 'Died';
}

/** What a call of a dead process waits for. */
const forEver = <Value>(): Promise<Value> => new Promise<Value>(() => undefined);

export class Gate {
  /** The boundaries that were passed since `arm`, in order. */
  readonly names: string[] = [];
  /** Rises with all that the process does, reads included. */
  activity = 0;
  /** Where it died. */
  diedAt: string | null = null;
  /** Settles with its death. */
  readonly death: Promise<void>;
  #tellOfDeath: () => void = () => undefined;
  #armed = false;
  #dieAt = Infinity;
  #isDead = false;

  constructor() {
    this.death = new Promise((resolve) => {
      this.#tellOfDeath = resolve;
    });
  }

  /** From now on boundaries count, from 0; the process dies at the given one. */
  arm(dieAt: number): void {
    this.#armed = true;
    this.#dieAt = dieAt;
    this.names.length = 0;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  #isShut(): boolean {
    return this.#isDead;
  }

  /** True at the boundary where the process dies: what is half done then is done, then `die`. */
  isLast(name: string): boolean {
    this.activity += 1;
    if (this.#isDead || !this.#armed) return false;
    this.names.push(name);
    return this.names.length - 1 === this.#dieAt;
  }

  die(): void {
    this.diedAt = this.names.at(-1) ?? null;
    this.#isDead = true;
    this.#tellOfDeath();
  }

  /** A boundary between two steps of something asynchronous. */
  async pass(name: string): Promise<void> {
    if (this.isLast(name)) this.die();
    if (this.#isDead) await forEver();
  }

  /** The same within a synchronous job. */
  passNow(name: string): void {
    if (this.isLast(name)) this.die();
    if (this.#isDead) throw new Died(`dead since ${this.diedAt ?? 'long'}`);
  }

  /** Something that changes nothing, and so is no boundary; but the dead do not do it either. */
  async look<Value>(work: () => Promise<Value>): Promise<Value> {
    this.activity += 1;
    if (this.#isDead) return forEver();
    const outcome = await work().then(
      (value) => ({ value }),
      (thrown: unknown) => ({ thrown }),
    );
    // It may have died while this was under way.
    if (this.#isShut()) return forEver();
    if ('thrown' in outcome) throw outcome.thrown;
    return outcome.value;
  }

  /** Something that changes the world in one step, with a boundary before and behind it. */
  async step<Value>(name: string, work: () => Promise<Value>): Promise<Value> {
    await this.pass(`before ${name}`);
    const value = await this.look(work);
    await this.pass(`after ${name}`);
    return value;
  }
}
