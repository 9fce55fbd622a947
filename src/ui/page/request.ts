/** Requests to the server. An error response is thrown as RequestFailed. */
import type { Failure } from '../wire.js';

export class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
  /** Position of the damage; null for other errors. */
  readonly position: number | null;

  constructor({ error, position }: Failure) {
    super(error);
    this.position = position;
  }
}

export async function request<Reply>(
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
    throw new RequestFailed({
      error: 'cannot reach the server of this page: is `stratalog ui` still running?',
      position: null,
    });
  }
  const body: unknown = await response.json();
  if (!response.ok) throw new RequestFailed(body as Failure);
  return body as Reply;
}

/**
 * Runs one request at a time, and after it only the newest queued one: dragging along the time line
 * requests many positions, of which only the last one matters.
 */
export class LatestOnly {
  #running: Promise<void> | null = null;
  #queued: (() => Promise<void>) | null = null;

  run(work: () => Promise<void>): void {
    if (this.#running !== null) {
      this.#queued = work;
      return;
    }
    this.#running = work().finally(() => {
      this.#running = null;
      const next = this.#queued;
      this.#queued = null;
      if (next !== null) this.run(next);
    });
  }
}
