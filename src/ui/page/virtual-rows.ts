/**
 * A virtual list of rows with a fixed height: only visible rows are elements, so a hundred thousand
 * rows cost as much as fifty. One row is active: it has the tab stop, arrow keys move it, and it
 * stays an element while it is not visible, so that the focus is not lost.
 */
import { setAttribute } from './dom.js';

export interface VirtualRowsOptions {
  /** The scrolling element. */
  readonly host: HTMLElement;
  /** Its content, as high as all rows together. */
  readonly sheet: HTMLElement;
  readonly rowHeight: number;
  readonly makeRow: () => HTMLElement;
  readonly fillRow: (row: HTMLElement, index: number) => void;
  /** A click, Enter or the space bar. */
  readonly onOpen: (index: number, target: EventTarget | null) => void;
  /** Handles other keys. Returns whether it used the key. */
  readonly onKey?: (key: string, index: number) => boolean;
}

/** Rows rendered above and below the visible ones. */
const overscan = 6;

export class VirtualRows {
  readonly #options: VirtualRowsOptions;
  readonly #rows = new Map<number, HTMLElement>();
  readonly #unused: HTMLElement[] = [];
  #count = 0;
  #active = 0;
  #isRenderScheduled = false;

  constructor(options: VirtualRowsOptions) {
    this.#options = options;
    const { host } = options;
    host.addEventListener('scroll', () => this.#renderSoon(), { passive: true });
    new ResizeObserver(() => this.#renderSoon()).observe(host);
    host.addEventListener('keydown', (event) => {
      if (this.#onKey(event)) event.preventDefault();
    });
    host.addEventListener('click', (event) => {
      const index = this.#indexOf(event.target);
      if (index === null) return;
      this.activate(index);
      options.onOpen(index, event.target);
    });
  }

  get active(): number {
    return this.#active;
  }

  /** Sets the number of rows and refills all of them. */
  show(count: number, active = this.#active): void {
    this.#count = count;
    this.#active = Math.max(0, Math.min(active, count - 1));
    this.#options.sheet.style.height = `${count * this.#options.rowHeight}px`;
    const hadFocus = this.#hasFocus();
    this.#render(true);
    if (hadFocus) this.#rows.get(this.#active)?.focus({ preventScroll: true });
  }

  /** Activates a row and scrolls to it. */
  activate(index: number, { focus = true } = {}): void {
    if (this.#count === 0) return;
    this.#active = Math.max(0, Math.min(index, this.#count - 1));
    this.reveal(this.#active);
    this.#render(false);
    if (focus) this.#rows.get(this.#active)?.focus({ preventScroll: true });
  }

  reveal(index: number): void {
    const { host, rowHeight } = this.#options;
    const top = index * rowHeight;
    if (top < host.scrollTop) host.scrollTop = top;
    else if (top + rowHeight > host.scrollTop + host.clientHeight) {
      host.scrollTop = top + rowHeight - host.clientHeight;
    }
  }

  #hasFocus(): boolean {
    return this.#options.sheet.contains(document.activeElement);
  }

  #renderSoon(): void {
    if (this.#isRenderScheduled) return;
    this.#isRenderScheduled = true;
    requestAnimationFrame(() => {
      this.#isRenderScheduled = false;
      this.#render(false);
    });
  }

  #render(refill: boolean): void {
    const { host, rowHeight } = this.#options;
    const first = Math.max(0, Math.floor(host.scrollTop / rowHeight) - overscan);
    const renderedCount = Math.ceil(host.clientHeight / rowHeight) + 2 * overscan;
    const end = Math.min(this.#count, first + renderedCount);
    for (const [index, row] of this.#rows) {
      if ((index >= first && index < end) || (index === this.#active && index < this.#count)) {
        continue;
      }
      row.remove();
      this.#rows.delete(index);
      this.#unused.push(row);
    }
    for (let index = first; index < end; index += 1) this.#place(index, refill);
    if (this.#active < this.#count) this.#place(this.#active, refill);
    for (const [index, row] of this.#rows) {
      setAttribute(row, 'tabindex', index === this.#active ? '0' : '-1');
    }
  }

  #place(index: number, refill: boolean): void {
    const known = this.#rows.get(index);
    if (known !== undefined && !refill) return;
    const { sheet, rowHeight, makeRow, fillRow } = this.#options;
    const row = known ?? this.#unused.pop() ?? makeRow();
    row.style.transform = `translateY(${index * rowHeight}px)`;
    row.dataset['index'] = String(index);
    fillRow(row, index);
    this.#rows.set(index, row);
    if (known === undefined) sheet.append(row);
  }

  #indexOf(target: EventTarget | null): number | null {
    if (!(target instanceof Element)) return null;
    const index = target.closest<HTMLElement>('[data-index]')?.dataset['index'];
    return index === undefined ? null : Number(index);
  }

  #onKey({ key, target, altKey, ctrlKey, metaKey }: KeyboardEvent): boolean {
    if (altKey || ctrlKey || metaKey || this.#indexOf(target) === null) return false;
    const page = Math.max(
      1,
      Math.floor(this.#options.host.clientHeight / this.#options.rowHeight) - 1,
    );
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -this.#count,
      End: this.#count,
    };
    const step = steps[key];
    if (step !== undefined) this.activate(this.#active + step);
    else if (key === 'Enter' || key === ' ') this.#options.onOpen(this.#active, null);
    else return this.#options.onKey?.(key, this.#active) ?? false;
    return true;
  }
}
