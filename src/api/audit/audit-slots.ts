/**
 * Limits concurrent audit calls, in total and per client. A client can leak streams: gRPC for Node
 * does when a call is cancelled as it starts, because the request is sent but its end is not. A
 * server cannot distinguish that from a slow reader. The limit per client protects the others.
 */
import { TooManyCalls } from '../grpc/status.js';

export class Slots {
  readonly #shareMax: number;
  readonly #takenBy = new Map<string, number>();
  #taken = 0;

  /**
   * @param max calls in total
   * @param what the kind of call, for error messages
   * @param shareMax calls per client
   */
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

  /** Returns a function that releases the slot; call it once. @throws TooManyCalls */
  take(client: string): () => void {
    const taken = this.#takenBy.get(client) ?? 0;
    if (this.#taken >= this.max) {
      throw new TooManyCalls(
        `too many ${this.what}: ${this.max} are running, which is the limit; try again later`,
      );
    }
    if (taken >= this.#shareMax) {
      throw new TooManyCalls(
        `too many ${this.what} for ${client}: ${taken} of ${this.max} are running, which is the ` +
          'limit for one client; end one or raise limits.audit_calls',
      );
    }
    this.#taken += 1;
    this.#takenBy.set(client, taken + 1);
    return () => this.#release(client);
  }

  #release(client: string): void {
    this.#taken -= 1;
    const left = (this.#takenBy.get(client) ?? 0) - 1;
    if (left > 0) this.#takenBy.set(client, left);
    else this.#takenBy.delete(client);
  }
}
