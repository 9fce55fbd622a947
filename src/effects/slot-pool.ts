/**
 * The slots of one kind of effect and the attempts that wait for one, first come, first served.
 * Slots are made when they are first needed, up to the kind's concurrency.
 */
import type { Attempt, AttemptQueue, Slot } from './slot-machine.js';

export class SlotPool implements AttemptQueue {
  readonly #concurrency: number;
  readonly #addSlot: () => void;
  readonly #waiting = new Set<Attempt>();
  readonly #idle: Slot[] = [];
  /** The attempt that each slot was assigned last. */
  readonly #assigned = new Map<Slot, Attempt>();
  #size = 0;

  /** @param addSlot starts one more slot, which takes its first attempt from here */
  constructor(concurrency: number, addSlot: () => void) {
    this.#concurrency = concurrency;
    this.#addSlot = addSlot;
  }

  /** The attempt begins now, or when a slot is free. */
  enter(attempt: Attempt): void {
    const slot = this.#idle.pop();
    if (slot !== undefined) {
      this.#assigned.set(slot, attempt);
      slot.send({ type: 'Assigned', attempt });
      return;
    }
    this.#waiting.add(attempt);
    if (this.#size === this.#concurrency) return;
    this.#size += 1;
    this.#addSlot();
  }

  leave(attempt: Attempt): void {
    this.#waiting.delete(attempt);
  }

  next(slot: Slot): Attempt | null {
    const [attempt] = this.#waiting;
    if (attempt === undefined) {
      this.#idle.push(slot);
      return null;
    }
    this.#waiting.delete(attempt);
    this.#assigned.set(slot, attempt);
    return attempt;
  }

  /** The slot's actor failed; its supervisor starts another one in its place. */
  crashed(slot: Slot, error: unknown): void {
    const attempt = this.#assigned.get(slot);
    this.#assigned.delete(slot);
    if (attempt?.crashed(error) === true) return;
    // A fault of this program must end it, as any uncaught error does.
    queueMicrotask(() => {
      throw error;
    });
  }
}
