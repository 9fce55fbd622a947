/** The findings pane: the current differences between log, directories and mounts. */
import type { FindingRow } from '../wire.js';
import type { Controller } from './controller.js';
import { byId, make } from './dom.js';
import type { PageState, Store } from './store.js';
import { pluralize, shortened, visible } from './text.js';

/** The page shows no more; `stratalog inspect` prints all findings. */
const shownMax = 200;

export class FindingsPane {
  readonly #controller: Controller;

  constructor(store: Store, controller: Controller) {
    this.#controller = controller;
    byId('refresh-findings').addEventListener('click', () => {
      void controller.loadFindings();
    });
    store.on(['findings'], (state) => this.#update(state));
  }

  #update({ findings }: PageState): void {
    const list = byId('findings');
    const found = findings === null || findings === 'unknown' ? [] : findings;
    const shown = [...found]
      .sort((one, other) => Number(one.isOrdinary) - Number(other.isOrdinary))
      .slice(0, shownMax);
    list.replaceChildren(...shown.map((finding) => this.#item(finding)));
    list.hidden = shown.length === 0;
    byId('findings-count').textContent = inWords(findings);
  }

  #item(finding: FindingRow): HTMLElement {
    const { kind, subject, evidence, action, isOrdinary, snapshot } = finding;
    const item = make('li', isOrdinary ? 'finding ordinary' : 'finding');
    const head = make('div', 'finding-head');
    head.append(
      make('strong', 'finding-kind', kind),
      make('span', 'finding-action', isOrdinary ? `${action} (ordinary)` : action),
    );
    const words = visible(shortened(subject));
    const about = snapshot === null ? make('bdi', '', words) : this.#linkTo(snapshot, words);
    about.title = visible(subject);
    item.append(head, about, make('bdi', 'evidence', visible(evidence)));
    return item;
  }

  #linkTo(snapshot: number, words: string): HTMLElement {
    const link = make('button', 'link');
    link.type = 'button';
    link.append(make('bdi', '', words));
    link.addEventListener('click', () => {
      this.#controller.select(snapshot);
    });
    return link;
  }
}

function inWords(findings: PageState['findings']): string {
  if (findings === null) return 'loading …';
  if (findings === 'unknown') return 'unknown: only the log is accessible';
  const serious = findings.filter(({ isOrdinary }) => !isOrdinary).length;
  const ordinary = findings.length - serious;
  if (findings.length === 0) return 'none';
  return ordinary === 0
    ? pluralize(serious, 'finding')
    : `${pluralize(serious, 'finding')}, ${ordinary} ordinary`;
}
