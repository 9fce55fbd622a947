/** The chart pane: the statechart of the selected snapshot with its state and path, and its facts. */
import { byId, make, setAttribute } from './dom.js';
import type { FactsReply, LifeReply } from '../wire.js';
import type { Controller } from './controller.js';
import type { PageState, Store } from './store.js';
import { grouped, humanSize, shortTime, stateWord, visible } from './text.js';

export class ChartPane {
  readonly #controller: Controller;
  #picture: Element | null = null;

  constructor(store: Store, controller: Controller) {
    this.#controller = controller;
    store.on(['life', 'selected', 'position'], (state) => this.#update(state));
    void this.#load(store);
  }

  async #load(store: Store): Promise<void> {
    const text = await (await fetch('/chart.svg')).text();
    const { documentElement } = new DOMParser().parseFromString(text, 'image/svg+xml');
    this.#picture = document.importNode(documentElement, true);
    byId('chart').replaceChildren(this.#picture);
    this.#update(store.state);
  }

  #update({ life, selected, position }: PageState): void {
    // Hidden until the picture is loaded, so that the text does not move.
    byId('no-selection').hidden = this.#picture === null || selected !== null;
    byId('selection').hidden = selected === null;
    const { facts } = life ?? { facts: null };
    const title = byId('selected-name');
    title.textContent = facts === null ? 'State chart' : visible(facts.name);
    title.title = facts === null ? '' : visible(facts.name);
    const state = byId('selected-state');
    state.textContent = life === null ? '' : stateInWords(facts);
    state.dataset['status'] = facts?.status ?? '';
    state.hidden = life === null;
    byId('facts').replaceChildren(...(facts === null ? [] : this.#rowsOf(facts)));
    this.#highlight(life, position);
  }

  #highlight(life: LifeReply | null, position: number): void {
    const picture = this.#picture;
    if (picture === null) return;
    const steps = (life?.steps ?? []).filter((step) => step.position < position);
    const status = life?.facts?.status ?? null;
    const visited = new Set(
      steps.flatMap(({ from, to }) => [...withParent(from), ...withParent(to)]),
    );
    const taken = new Set(steps.map(({ arrow }) => arrow));
    const last = steps.at(-1)?.arrow ?? null;
    for (const element of picture.querySelectorAll<SVGElement>('[data-state]')) {
      const path = element.dataset['state'] ?? '';
      element.classList.toggle('lit', path === status);
      element.classList.toggle('visited', visited.has(path));
    }
    for (const element of picture.querySelectorAll<SVGElement>('[data-arrow]')) {
      const id = element.dataset['arrow'] ?? '';
      element.classList.toggle('taken', taken.has(id));
      element.classList.toggle('last', id === last);
      // Draw followed arrows last, so that they are visible where arrows share a line.
      if (taken.has(id) && element.nextElementSibling?.matches('.arrow:not(.taken)') === true) {
        picture.insertBefore(element, picture.querySelector('.state:not(.compound)'));
      }
    }
    const words = steps.map(({ type }) => type).join(', ');
    setAttribute(
      picture,
      'aria-label',
      status === null
        ? 'State chart of a snapshot; no state is highlighted'
        : `State chart: the snapshot is ${status}, after ${words}`,
    );
  }

  #rowsOf(facts: FactsReply): readonly Node[] {
    const { parent } = facts;
    const rows: readonly (readonly [string, string | HTMLElement | null])[] = [
      ['key', visible(facts.name)],
      ['kind', facts.shownAs ?? `${facts.kind}, not visible to clients`],
      ['parent', parent === null ? 'none' : this.#linkTo(parent)],
      ['size', sizeInWords(facts)],
      ['created', `${shortTime(facts.created)} UTC`],
      ['updated', facts.updated === facts.created ? null : `${shortTime(facts.updated)} UTC`],
      ['target', facts.target === null ? null : visible(facts.target)],
      ['remote', facts.remote === null ? null : visible(facts.remote)],
      ['unavailable', facts.unavailable === null ? null : visible(facts.unavailable)],
      ...facts.labels.map(([name, value]) => [visible(name), visible(value)] as const),
    ];
    return rows.flatMap(([name, value]) => {
      if (value === null) return [];
      const detail = make('dd', '');
      detail.append(typeof value === 'string' ? make('bdi', '', value) : value);
      return [make('dt', '', name), detail];
    });
  }

  #linkTo(parent: { readonly id: number; readonly name: string }): HTMLElement {
    const link = make('button', 'link');
    link.type = 'button';
    link.append(make('bdi', '', `${grouped(parent.id)} ${visible(parent.name)}`));
    link.addEventListener('click', () => {
      this.#controller.select(parent.id);
    });
    return link;
  }
}

function stateInWords(facts: FactsReply | null): string {
  if (facts === null) return 'does not exist at this moment';
  return facts.status === 'committed.available' ? 'committed, available' : stateWord(facts.status);
}

function sizeInWords({ bytes, inodes }: FactsReply): string | null {
  if (bytes === null || inodes === null) return null;
  return `${humanSize(bytes)} in ${grouped(inodes)} inodes`;
}

/** `committed.available` and `committed`. */
function withParent(path: string): readonly string[] {
  const dot = path.lastIndexOf('.');
  return dot < 0 ? [path] : [path, path.slice(0, dot)];
}
