/** The state of the page and its listeners. */
import type { BoundsReply, Failure, FindingRow, LifeReply, TimeLineReply } from '../wire.js';
import type { Snapshot } from './tree-rows.js';

export interface PageState {
  readonly bounds: BoundsReply | null;
  readonly timeLine: TimeLineReply | null;
  /** The requested position: the state after all events before it. */
  readonly position: number;
  /** The position of `snapshots`, which follows `position` with the reply. */
  readonly shownPosition: number | null;
  readonly time: string | null;
  /** Replaced on each change. */
  readonly snapshots: ReadonlyMap<number, Snapshot>;
  readonly selected: number | null;
  readonly life: LifeReply | null;
  readonly filter: string;
  readonly isLive: boolean;
  readonly isOfWholeLog: boolean;
  /** Null while loading. */
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

  /** Calls the listener when one of the named parts has changed. */
  on(parts: readonly (keyof PageState)[], listener: (state: PageState) => void): void {
    this.onChange((state, before) => {
      if (parts.some((part) => state[part] !== before[part])) listener(state);
    });
  }
}
