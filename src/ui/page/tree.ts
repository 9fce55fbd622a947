/** The tree pane: the snapshots at the position, with a filter and keyboard control. */
import { byId, inputById, make, setAttribute } from './dom.js';
import type { Controller } from './controller.js';
import type { PageState, Store } from './store.js';
import { pluralize, humanSize, shortened, splitName, stateWord, visible } from './text.js';
import { treeRows, type TreeRow } from './tree-rows.js';
import { VirtualRows } from './virtual-rows.js';

const rowHeight = 30;
/** Maximum indent, because chains of layers are long. */
const indentMax = 14;
const filterPauseMillis = 120;

export class TreePane {
  readonly #store: Store;
  readonly #controller: Controller;
  readonly #rows: VirtualRows;
  readonly #closed = new Set<number>();
  #shown: readonly TreeRow[] = [];
  #withFindings: ReadonlySet<number> = new Set();

  constructor(store: Store, controller: Controller) {
    this.#store = store;
    this.#controller = controller;
    this.#rows = new VirtualRows({
      host: byId('tree'),
      sheet: byId('tree-sheet'),
      rowHeight,
      makeRow,
      fillRow: (row, index) => this.#fill(row, index),
      onOpen: (index, target) => this.#open(index, target),
      onKey: (key, index) => this.#onKey(key, index),
    });
    this.#listenToFilter();
    store.on(['snapshots', 'filter'], () => this.#update());
    store.on(['findings'], (state) => {
      this.#withFindings = idsOf(state);
      this.#update();
    });
    store.on(['selected'], () => this.#update());
  }

  #listenToFilter(): void {
    const input = inputById('filter');
    let timer = 0;
    input.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#controller.setFilter(input.value.trim()), filterPauseMillis);
    });
    input.addEventListener('keydown', ({ key }) => {
      if (key === 'ArrowDown') this.#rows.activate(this.#rows.active);
    });
  }

  #update(): void {
    const { snapshots, filter } = this.#store.state;
    const activeId = this.#shown[this.#rows.active]?.snapshot.id;
    this.#shown = treeRows(snapshots, this.#closed, filter);
    const active = this.#shown.findIndex(({ snapshot }) => snapshot.id === activeId);
    byId('tree').hidden = this.#shown.length === 0;
    this.#rows.show(this.#shown.length, active < 0 ? this.#rows.active : active);
    const matching = this.#shown.filter(({ isMatch }) => isMatch).length;
    const all = pluralize(snapshots.size, 'snapshot');
    byId('tree-count').textContent = filter === '' ? all : `${String(matching)} of ${all}`;
    const empty = byId('tree-empty');
    empty.hidden = this.#shown.length > 0;
    empty.textContent =
      filter === '' ? 'No snapshot exists at this moment.' : 'No snapshot matches the filter.';
  }

  #fill(row: HTMLElement, index: number): void {
    const shown = this.#shown[index];
    if (shown === undefined) return;
    const { snapshot, level, isOpen } = shown;
    const isSelected = this.#store.state.selected === snapshot.id;
    setAttribute(row, 'aria-level', String(level));
    setAttribute(row, 'aria-posinset', String(shown.place));
    setAttribute(row, 'aria-setsize', String(shown.siblings));
    setAttribute(row, 'aria-expanded', isOpen === null ? null : String(isOpen));
    setAttribute(row, 'aria-selected', String(isSelected));
    row.dataset['id'] = String(snapshot.id);
    row.classList.toggle('non-match', !shown.isMatch);
    const { namespace, rest } = splitName(snapshot.name);
    const [indent, dot, name, space, flag, size, state] = partsOf(row);
    indent.style.width = `${Math.min(level - 1, indentMax) * 14}px`;
    dot.dataset['status'] = snapshot.status;
    name.textContent = visible(shortened(rest));
    name.title = visible(snapshot.name);
    space.textContent = visible(namespace);
    size.textContent = snapshot.bytes < 0 ? '' : humanSize(snapshot.bytes);
    state.textContent = stateWord(snapshot.status);
    flag.textContent = this.#withFindings.has(snapshot.id) ? 'finding' : '';
  }

  #open(index: number, target: EventTarget | null): void {
    const shown = this.#shown[index];
    if (shown === undefined) return;
    const isTwist = target instanceof Element && target.classList.contains('twist');
    if (isTwist && shown.isOpen !== null) this.#toggle(shown.snapshot.id);
    else this.#controller.select(shown.snapshot.id);
  }

  #onKey(key: string, index: number): boolean {
    const shown = this.#shown[index];
    if (shown === undefined) return false;
    if (key === 'ArrowRight') {
      if (shown.isOpen === false) this.#toggle(shown.snapshot.id);
      else if (shown.isOpen === true) this.#rows.activate(index + 1);
      return true;
    }
    if (key !== 'ArrowLeft') return false;
    if (shown.isOpen === true) this.#toggle(shown.snapshot.id);
    else {
      const parent = this.#shown.findIndex(({ snapshot }) => snapshot.id === shown.snapshot.parent);
      if (parent >= 0) this.#rows.activate(parent);
    }
    return true;
  }

  #toggle(id: number): void {
    if (!this.#closed.delete(id)) this.#closed.add(id);
    this.#update();
  }
}

function idsOf({ findings }: PageState): ReadonlySet<number> {
  if (findings === null || findings === 'unknown') return new Set();
  return new Set(
    findings.flatMap(({ snapshot, isOrdinary }) =>
      snapshot === null || isOrdinary ? [] : [snapshot],
    ),
  );
}

function makeRow(): HTMLElement {
  const row = make('div', 'row tree-row');
  row.setAttribute('role', 'treeitem');
  const twist = make('span', 'twist');
  twist.setAttribute('aria-hidden', 'true');
  row.append(
    make('span', 'indent'),
    twist,
    make('span', 'dot'),
    make('bdi', 'name'),
    make('bdi', 'space'),
    make('span', 'flag'),
    make('span', 'size'),
    make('span', 'state-word'),
  );
  return row;
}

type Parts = readonly [
  indent: HTMLElement,
  dot: HTMLElement,
  name: HTMLElement,
  space: HTMLElement,
  flag: HTMLElement,
  size: HTMLElement,
  state: HTMLElement,
];

function partsOf(row: HTMLElement): Parts {
  const [indent, , ...others] = row.children;
  return [indent, ...others] as unknown as Parts;
}
