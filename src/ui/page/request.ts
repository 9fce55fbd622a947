/** Questions to the server. An answer that is not what was asked for is thrown as Unanswered. */
import type { Failure } from '../wire.js';

export class Unanswered extends Error {
  override readonly name = 'Unanswered';
  /** Where the log is damaged; null when something else is wrong. */
  readonly position: number | null;

  constructor({ error, position }: Failure) {
    super(error);
    this.position = position;
  }
}

export async function ask<Reply>(
  path: string,
  query: Readonly<Record<string, number>> = {},
): Promise<Reply> {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]) => [name, String(value)]),
  ).toString();
  let response: Response;
  try {
    response = await fetch(search === '' ? path : `${path}?${search}`);
  } catch {
    throw new Unanswered({
      error: 'the server of this page does not answer: is `stratalog ui` still running?',
      position: null,
    });
  }
  const body: unknown = await response.json();
  if (!response.ok) throw new Unanswered(body as Failure);
  return body as Reply;
}

/**
 * Runs one question at a time and only the newest wish after it: a time line that is dragged asks
 * for many moments, of which only the last counts.
 */
export class Newest {
  #running: Promise<void> | null = null;
  #waiting: (() => Promise<void>) | null = null;

  run(work: () => Promise<void>): void {
    if (this.#running !== null) {
      this.#waiting = work;
      return;
    }
    this.#running = work().finally(() => {
      this.#running = null;
      const next = this.#waiting;
      this.#waiting = null;
      if (next !== null) this.run(next);
    });
  }
}
