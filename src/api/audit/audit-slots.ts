/**
 * How many audit calls run, and how many may: in all, and of one client. A client may open streams
 * and forget them. gRPC for Node does so where a call is cancelled in the moment of its start: the
 * request leaves, its end never does, and no server can tell it from a patient reader. Only that
 * client is refused then.
 */
import { TooMany } from '../grpc/status.js';

export class Slots {
  readonly #shareMax: number;
  readonly #takenBy = new Map<string, number>();
  #taken = 0;

  /** `max` in all; `shareMax` of one client. `what` they are for is said in refusals. */
  constructor(
    readonly max: number,
    private readonly what: string,
    shareMax = max,
  ) {
    this.#shareMax = shareMax;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Answers how to give the place back, once. @throws TooMany */
  take(client: string): () => void {
    const mine = this.#takenBy.get(client) ?? 0;
    if (this.#taken >= this.max) {
      throw new TooMany(
        `${this.max} ${this.what} run already, as many as may at one time; ask again later`,
      );
    }
    if (mine >= this.#shareMax) {
      throw new TooMany(
        `${mine} ${this.what} run already for ${client}, as many as one client may have of ` +
          `${this.max}; end one, or raise limits.audit_calls`,
      );
    }
    this.#taken += 1;
    this.#takenBy.set(client, mine + 1);
    return () => this.#giveBack(client);
  }

  #giveBack(client: string): void {
    this.#taken -= 1;
    const left = (this.#takenBy.get(client) ?? 0) - 1;
    if (left > 0) this.#takenBy.set(client, left);
    else this.#takenBy.delete(client);
  }
}
