/** What the page knows, and who is told when it changes. */
import type { BoundsReply, Failure, FindingRow, LifeReply, TimeLineReply } from '../wire.js';
import type { Snapshot } from './tree-rows.js';

export interface PageState {
  readonly bounds: BoundsReply | null;
  readonly timeLine: TimeLineReply | null;
  /** The moment that is wished for: the state after all events before this position. */
  readonly position: number;
  /** The moment that `snapshots` shows: it comes a little later. */
  readonly shownPosition: number | null;
  readonly time: string | null;
  /** A new object with each change. */
  readonly snapshots: ReadonlyMap<number, Snapshot>;
  readonly selected: number | null;
  readonly life: LifeReply | null;
  readonly filter: string;
  readonly isLive: boolean;
  readonly isOfWholeLog: boolean;
  /** Null while nobody has looked yet. */
  readonly findings: readonly FindingRow[] | 'unknown' | null;
  readonly failure: Failure | null;
}

type Listener = (state: PageState, before: PageState) => void;

export class Store {
  #state: PageState = {
    bounds: null,
    timeLine: null,
    position: 0,
    shownPosition: null,
    time: null,
    snapshots: new Map(),
    selected: null,
    life: null,
    filter: '',
    isLive: false,
    isOfWholeLog: false,
    findings: null,
    failure: null,
  };
  readonly #listeners: Listener[] = [];

  get state(): PageState {
    return this.#state;
  }

  set(change: Partial<PageState>): void {
    const before = this.#state;
    this.#state = { ...before, ...change };
    for (const listener of this.#listeners) listener(this.#state, before);
  }

  onChange(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Calls back when one of the named parts has changed. */
  on(parts: readonly (keyof PageState)[], listener: (state: PageState) => void): void {
    this.onChange((state, before) => {
      if (parts.some((part) => state[part] !== before[part])) listener(state);
    });
  }
}
