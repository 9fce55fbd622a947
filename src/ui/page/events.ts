/** The events pane: the events of the selected snapshot, or of the whole log before the position. */
import type { EventRow, EventsReply, StepRow } from '../wire.js';
import type { Controller } from './controller.js';
import { byId, make, setAttribute } from './dom.js';
import { LatestOnly, request, RequestFailed } from './request.js';
import type { PageState, Store } from './store.js';
import { clockTime, pluralize, shortened, shortTime, stateWord, visible } from './text.js';
import { VirtualRows } from './virtual-rows.js';

const rowHeight = 46;
/** Number of events shown for the whole log. */
const wholeLogCount = 500;

export class EventsPane {
  readonly #store: Store;
  readonly #controller: Controller;
  readonly #rows: VirtualRows;
  readonly #requests = new LatestOnly();
  #shown: readonly (EventRow | StepRow)[] = [];
  #subject = '';

  constructor(store: Store, controller: Controller) {
    this.#store = store;
    this.#controller = controller;
    this.#rows = new VirtualRows({
      host: byId('events'),
      sheet: byId('events-sheet'),
      rowHeight,
      makeRow,
      fillRow: (row, index) => this.#fill(row, index),
      onOpen: (index) => this.#open(index),
    });
    for (const [id, isOfWholeLog] of [
      ['of-snapshot', false],
      ['of-log', true],
    ] as const) {
      byId(id).addEventListener('change', () => controller.setWholeLog(isOfWholeLog));
    }
    store.on(['selected', 'life', 'shownPosition', 'isOfWholeLog'], () => this.#update());
  }

  #update(): void {
    const { state } = this.#store;
    const { life, selected, isOfWholeLog, position } = state;
    if (isOfWholeLog || selected === null) {
      this.#requests.run(() => this.#showLog(position));
      return;
    }
    if (life !== null) this.#show(life.steps, state, life.omitted);
  }

  async #showLog(to: number): Promise<void> {
    try {
      const { events } = await request<EventsReply>('/api/events', { to, count: wholeLogCount });
      const { state } = this.#store;
      if (state.isOfWholeLog || state.selected === null) this.#show(events, state, 0);
    } catch (thrown) {
      if (!(thrown instanceof RequestFailed)) throw thrown;
      this.#store.set({ failure: { error: thrown.message, position: thrown.position } });
    }
  }

  #show(events: readonly (EventRow | StepRow)[], state: PageState, omitted: number): void {
    const { position, selected, isOfWholeLog } = state;
    this.#shown = events;
    const last = events.findLastIndex((event) => event.position < position);
    byId('events').hidden = events.length === 0;
    byId('events-grid').setAttribute('aria-rowcount', String(events.length + 1));
    const subject = isOfWholeLog || selected === null ? 'log' : String(selected);
    const isOther = subject !== this.#subject;
    this.#subject = subject;
    this.#rows.show(events.length, isOther ? Math.max(0, last) : this.#rows.active);
    this.#rows.reveal(Math.max(0, last));
    const more = omitted === 0 ? '' : `, ${pluralize(omitted, 'older one')} left out`;
    byId('events-count').textContent =
      subject === 'log'
        ? `the newest ${pluralize(events.length, 'event')} before this moment`
        : `${pluralize(events.length, 'event')} of snapshot ${subject}${more}`;
    byId('events-empty').hidden = events.length > 0;
  }

  #fill(row: HTMLElement, index: number): void {
    const event = this.#shown[index];
    if (event === undefined) return;
    const { position } = this.#store.state;
    const isLater = event.position >= position;
    setAttribute(row, 'aria-rowindex', String(index + 2));
    row.classList.toggle('later', isLater);
    row.classList.toggle('warning', event.isWarning);
    const next = this.#shown[index + 1];
    const isNow = !isLater && (next === undefined || next.position >= position);
    row.classList.toggle('now', isNow);
    setAttribute(row, 'aria-current', isNow ? 'step' : null);
    const { time, type, place, transition, summary } = partsOf(row);
    place.textContent = String(event.position);
    time.textContent = clockTime(event.time);
    time.title = `${shortTime(event.time)} UTC`;
    type.textContent = visible(event.type);
    transition.textContent =
      'from' in event ? transitionOf(event) : event.stream === 'daemon' ? 'daemon' : event.stream;
    const caller = 'caller' in event ? event.caller : '';
    summary.textContent = visible(shortened(event.summary));
    summary.title = visible([event.summary, caller].filter((text) => text !== '').join('\n'));
  }

  /** Moves to the position after the event, to show its result. */
  #open(index: number): void {
    const event = this.#shown[index];
    if (event === undefined) return;
    if ('stream' in event && this.#subject === 'log') {
      const id = /^snapshot-(\d+)$/.exec(event.stream)?.[1];
      if (id !== undefined) {
        this.#controller.setWholeLog(true);
        this.#controller.select(Number(id));
      }
    }
    this.#controller.moveTo(event.position + 1);
  }
}

function transitionOf({ from, to }: StepRow): string {
  return from === to ? `stays ${stateWord(to)}` : `${stateWord(from)} → ${stateWord(to)}`;
}

function makeRow(): HTMLElement {
  const row = make('div', 'row event-row');
  row.setAttribute('role', 'row');
  const cells = ['time', 'type', 'place', 'what'].map((name) => make('span', name));
  for (const cell of cells) cell.setAttribute('role', 'gridcell');
  cells.at(-1)?.append(make('span', 'transition'), ' ', make('bdi', 'summary'));
  row.append(...cells);
  return row;
}

interface Parts {
  readonly time: HTMLElement;
  readonly type: HTMLElement;
  readonly place: HTMLElement;
  readonly transition: HTMLElement;
  readonly summary: HTMLElement;
}

function partsOf(row: HTMLElement): Parts {
  const [time, type, place, what] = row.children;
  const [transition, summary] = what?.children ?? [];
  return { time, type, place, transition, summary } as unknown as Parts;
}
