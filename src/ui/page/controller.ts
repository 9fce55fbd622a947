/** The actions of the page: each one sends a request and puts the reply into the store. */
import type {
  BoundsReply,
  FindingsReply,
  LifeReply,
  LiveMessage,
  StateReply,
  TimeLineReply,
} from '../wire.js';
import { LatestOnly, request, RequestFailed } from './request.js';
import type { Store } from './store.js';
import { snapshotOf, type Snapshot } from './tree-rows.js';

const pollMillis = 400;

export class Controller {
  readonly #store: Store;
  readonly #states = new LatestOnly();
  readonly #lives = new LatestOnly();
  readonly #timeLines = new LatestOnly();
  #stream: EventSource | null = null;

  constructor(store: Store) {
    this.#store = store;
  }

  async begin(): Promise<void> {
    await this.#attempt(async () => {
      const bounds = await request<BoundsReply>('/api/bounds');
      this.#store.set({ bounds, failure: bounds.failure });
      this.#loadTimeLine();
      this.#show(bounds.next);
    });
    await this.loadFindings();
  }

  /** Moves to a position and ends live mode. */
  moveTo(position: number): void {
    if (this.#store.state.isLive) this.setLive(false);
    this.#show(position);
  }

  select(id: number | null): void {
    this.#store.set({ selected: id, life: null });
    this.#requestLife();
  }

  setFilter(filter: string): void {
    this.#store.set({ filter });
  }

  setWholeLog(isOfWholeLog: boolean): void {
    this.#store.set({ isOfWholeLog });
  }

  setLive(isLive: boolean): void {
    if (isLive === this.#store.state.isLive) return;
    this.#store.set({ isLive });
    this.#stream?.close();
    this.#stream = null;
    if (isLive) void this.#attempt(() => this.#follow());
  }

  /** Loads the findings about the current directories and mounts, independent of the position. */
  async loadFindings(): Promise<void> {
    this.#store.set({ findings: null });
    try {
      const { findings } = await request<FindingsReply>('/api/findings');
      this.#store.set({ findings: findings ?? 'unknown' });
    } catch (thrown) {
      this.#store.set({ findings: 'unknown' });
      this.#report(thrown);
    }
  }

  async #follow(): Promise<void> {
    const bounds = await request<BoundsReply>('/api/bounds');
    if (!this.#store.state.isLive) return;
    this.#moveToEnd(bounds);
    const stream = new EventSource(`/api/live?from=${bounds.next}`);
    this.#stream = stream;
    stream.addEventListener('message', ({ data }: MessageEvent<string>) => {
      const { next } = JSON.parse(data) as LiveMessage;
      const known = this.#store.state.bounds;
      if (known !== null && next > known.next) this.#moveToEnd({ ...known, next });
    });
    stream.addEventListener('failure', ({ data }: MessageEvent<string>) => {
      this.#store.set({ failure: JSON.parse(data) as { error: string; position: number | null } });
      this.setLive(false);
    });
  }

  #moveToEnd(bounds: BoundsReply): void {
    this.#store.set({ bounds });
    this.#loadTimeLine();
    this.#show(bounds.next);
  }

  #show(position: number): void {
    const { bounds } = this.#store.state;
    if (bounds === null) return;
    const within = Math.max(bounds.first, Math.min(bounds.next, Math.round(position)));
    this.#store.set({ position: within });
    this.#states.run(() => this.#attempt(() => this.#requestState(within)));
  }

  async #requestState(at: number): Promise<void> {
    const { shownPosition } = this.#store.state;
    const known = shownPosition === null ? {} : { from: shownPosition };
    const reply = await request<StateReply>('/api/state', { at, ...known });
    const snapshots =
      reply.extent === 'all' ? new Map<number, Snapshot>() : new Map(this.#store.state.snapshots);
    for (const row of reply.rows) snapshots.set(row[0], snapshotOf(row, reply.statuses));
    for (const id of reply.gone) snapshots.delete(id);
    this.#store.set({ snapshots, shownPosition: reply.position, time: reply.time });
    this.#requestLife();
  }

  #requestLife(): void {
    const { selected, position } = this.#store.state;
    if (selected === null) return;
    this.#lives.run(() =>
      this.#attempt(async () => {
        const life = await request<LifeReply>('/api/life', { id: selected, at: position });
        if (this.#store.state.selected === selected) this.#store.set({ life });
      }),
    );
  }

  #loadTimeLine(): void {
    this.#timeLines.run(() =>
      this.#attempt(async () => {
        for (;;) {
          const timeLine = await request<TimeLineReply>('/api/timeline');
          this.#store.set({ timeLine });
          if (timeLine.failure !== null) this.#store.set({ failure: timeLine.failure });
          if (timeLine.isDone) return;
          await new Promise((resolve) => setTimeout(resolve, pollMillis));
        }
      }),
    );
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      this.#report(thrown);
    }
  }

  #report(thrown: unknown): void {
    if (!(thrown instanceof RequestFailed)) throw thrown;
    this.#store.set({ failure: { error: thrown.message, position: thrown.position } });
  }
}
