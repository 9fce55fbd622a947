/** What is found when log, directories and mounts are laid side by side, as they are now. */
import type { FindingRow } from '../wire.js';
import type { Controller } from './controller.js';
import { byId, make } from './dom.js';
import type { PageState, Store } from './store.js';
import { pluralize, shortened, visible } from './text.js';

/** More would only be scrolled past; `stratalog inspect` prints all of them. */
const shownMax = 200;

export class FindingsPane {
  readonly #controller: Controller;

  constructor(store: Store, controller: Controller) {
    this.#controller = controller;
    byId('look-again').addEventListener('click', () => {
      void controller.lookForFindings();
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
  if (findings === null) return 'looking …';
  if (findings === 'unknown') return 'unknown: only the log is seen from here';
  const grave = findings.filter(({ isOrdinary }) => !isOrdinary).length;
  const ordinary = findings.length - grave;
  if (findings.length === 0) return 'nothing to do';
  return ordinary === 0
    ? pluralize(grave, 'finding')
    : `${pluralize(grave, 'finding')}, ${ordinary} ordinary`;
}
