/** What can be done on the page: each wish asks the server and puts the answer into the store. */
import type {
  BoundsReply,
  FindingsReply,
  LifeReply,
  LiveMessage,
  StateReply,
  TimeLineReply,
} from '../wire.js';
import { ask, Newest, Unanswered } from './ask.js';
import type { Store } from './store.js';
import { snapshotOf, type Snapshot } from './tree-rows.js';

const countingPauseMillis = 400;

export class Controller {
  readonly #store: Store;
  readonly #states = new Newest();
  readonly #lives = new Newest();
  readonly #timeLines = new Newest();
  #stream: EventSource | null = null;

  constructor(store: Store) {
    this.#store = store;
  }

  async begin(): Promise<void> {
    await this.#attempt(async () => {
      const bounds = await ask<BoundsReply>('/api/bounds');
      this.#store.set({ bounds, failure: bounds.failure });
      this.#countTimeLine();
      this.#show(bounds.next);
    });
    await this.lookForFindings();
  }

  /** Somebody moves the moment: that ends following the newest. */
  moveTo(position: number): void {
    if (this.#store.state.isLive) this.setLive(false);
    this.#show(position);
  }

  select(id: number | null): void {
    this.#store.set({ selected: id, life: null });
    this.#askLife();
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

  /** Directories and mounts as they are now; the log's past has no part in it. */
  async lookForFindings(): Promise<void> {
    this.#store.set({ findings: null });
    try {
      const { findings } = await ask<FindingsReply>('/api/findings');
      this.#store.set({ findings: findings ?? 'unknown' });
    } catch (thrown) {
      this.#store.set({ findings: 'unknown' });
      this.#tell(thrown);
    }
  }

  async #follow(): Promise<void> {
    const bounds = await ask<BoundsReply>('/api/bounds');
    if (!this.#store.state.isLive) return;
    this.#reach(bounds);
    const stream = new EventSource(`/api/live?from=${bounds.next}`);
    this.#stream = stream;
    stream.addEventListener('message', ({ data }: MessageEvent<string>) => {
      const { next } = JSON.parse(data) as LiveMessage;
      const known = this.#store.state.bounds;
      if (known !== null && next > known.next) this.#reach({ ...known, next });
    });
    stream.addEventListener('failure', ({ data }: MessageEvent<string>) => {
      this.#store.set({ failure: JSON.parse(data) as { error: string; position: number | null } });
      this.setLive(false);
    });
  }

  #reach(bounds: BoundsReply): void {
    this.#store.set({ bounds });
    this.#countTimeLine();
    this.#show(bounds.next);
  }

  #show(position: number): void {
    const { bounds } = this.#store.state;
    if (bounds === null) return;
    const within = Math.max(bounds.first, Math.min(bounds.next, Math.round(position)));
    this.#store.set({ position: within });
    this.#states.run(() => this.#attempt(() => this.#askState(within)));
  }

  async #askState(at: number): Promise<void> {
    const { shownPosition } = this.#store.state;
    const known = shownPosition === null ? {} : { from: shownPosition };
    const reply = await ask<StateReply>('/api/state', { at, ...known });
    const snapshots =
      reply.extent === 'all' ? new Map<number, Snapshot>() : new Map(this.#store.state.snapshots);
    for (const row of reply.rows) snapshots.set(row[0], snapshotOf(row, reply.statuses));
    for (const id of reply.gone) snapshots.delete(id);
    this.#store.set({ snapshots, shownPosition: reply.position, time: reply.time });
    this.#askLife();
  }

  #askLife(): void {
    const { selected, position } = this.#store.state;
    if (selected === null) return;
    this.#lives.run(() =>
      this.#attempt(async () => {
        const life = await ask<LifeReply>('/api/life', { id: selected, at: position });
        if (this.#store.state.selected === selected) this.#store.set({ life });
      }),
    );
  }

  #countTimeLine(): void {
    this.#timeLines.run(() =>
      this.#attempt(async () => {
        for (;;) {
          const timeLine = await ask<TimeLineReply>('/api/timeline');
          this.#store.set({ timeLine });
          if (timeLine.failure !== null) this.#store.set({ failure: timeLine.failure });
          if (timeLine.isDone) return;
          await new Promise((resolve) => setTimeout(resolve, countingPauseMillis));
        }
      }),
    );
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      this.#tell(thrown);
    }
  }

  #tell(thrown: unknown): void {
    if (!(thrown instanceof Unanswered)) throw thrown;
    this.#store.set({ failure: { error: thrown.message, position: thrown.position } });
  }
}
