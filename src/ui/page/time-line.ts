/** The time line pane: the chart, the slider with pointer and keys, and the position as text. */
import type { Mark, TimeLineReply } from '../wire.js';
import type { Controller } from './controller.js';
import { byId, canvasById, inputById, make, setAttribute } from './dom.js';
import type { Store } from './store.js';
import { grouped, shortTime, timeOfMillis, visible } from './text.js';
import { drawTimeLine } from './time-line-picture.js';

/** Pages in the whole log, for Page Up and Page Down. */
const pages = 20;
const ticksMax = 6;
/** Distance in pixels within which the pointer shows a mark. */
const nearPixels = 6;

export class TimeLinePane {
  readonly #store: Store;
  readonly #controller: Controller;
  readonly #track = byId('track');
  readonly #slider = byId('slider');
  readonly #canvas = canvasById('bars');

  constructor(store: Store, controller: Controller) {
    this.#store = store;
    this.#controller = controller;
    this.#listenToPointer();
    this.#slider.addEventListener('keydown', (event) => {
      const to = this.#targetOf(event);
      if (to === null) return;
      event.preventDefault();
      controller.moveTo(to);
    });
    for (const [id, key] of buttons) {
      byId(id).addEventListener('click', () => {
        const to = this.#targetOf({ key });
        if (to !== null) controller.moveTo(to);
      });
    }
    const input = inputById('position');
    input.addEventListener('change', () => {
      if (/^\d+$/.test(input.value)) controller.moveTo(Number(input.value));
      else input.value = String(store.state.position);
    });
    store.on(['bounds', 'timeLine'], () => this.#draw());
    store.on(['bounds', 'position', 'time', 'snapshots'], () => this.#showPosition());
    new ResizeObserver(() => this.#draw()).observe(this.#track);
  }

  /** Redraws with the colours of the new theme. */
  redraw(): void {
    this.#draw();
  }

  #listenToPointer(): void {
    const track = this.#track;
    track.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      track.setPointerCapture(event.pointerId);
      this.#slider.focus({ preventScroll: true });
      event.preventDefault();
      this.#controller.moveTo(this.#positionAt(event.clientX));
    });
    track.addEventListener('pointermove', (event) => {
      if (track.hasPointerCapture(event.pointerId)) {
        this.#controller.moveTo(this.#positionAt(event.clientX));
      }
      this.#hover(event.clientX);
    });
    track.addEventListener('pointerleave', () => {
      byId('hover').hidden = true;
    });
  }

  #extent(): { readonly first: number; readonly next: number } {
    const { bounds } = this.#store.state;
    return { first: bounds?.first ?? 0, next: bounds?.next ?? 0 };
  }

  #positionAt(clientX: number): number {
    const { left, width } = this.#track.getBoundingClientRect();
    const { first, next } = this.#extent();
    const share = Math.max(0, Math.min(1, (clientX - left) / width));
    return Math.round(first + share * (next - first));
  }

  /** The position that a key moves to; null for other keys. */
  #targetOf({ key }: Pick<KeyboardEvent, 'key'>): number | null {
    const { first, next } = this.#extent();
    const { position } = this.#store.state;
    const page = Math.max(1, Math.round((next - first) / pages));
    const { timeLine } = this.#store.state;
    const marks = timeLine?.marks ?? [];
    // While counting, the next mark may not be known yet.
    if ((key === '[' || key === ']') && timeLine?.isDone !== true) return null;
    switch (key) {
      case 'ArrowLeft':
      case 'ArrowDown':
        return position - 1;
      case 'ArrowRight':
      case 'ArrowUp':
        return position + 1;
      case 'PageDown':
        return position - page;
      case 'PageUp':
        return position + page;
      case 'Home':
        return first;
      case 'End':
        return next;
      // The position after the event, to show its result.
      case '[':
        return (marks.findLast((mark) => mark.position + 1 < position)?.position ?? first - 1) + 1;
      case ']':
        return (marks.find((mark) => mark.position + 1 > position)?.position ?? next - 1) + 1;
      default:
        return null;
    }
  }

  #draw(): void {
    const { timeLine } = this.#store.state;
    if (timeLine === null) return;
    drawTimeLine({ canvas: this.#canvas, timeLine, extent: this.#extent() });
    this.#label(timeLine);
    setAttribute(this.#track, 'aria-busy', String(!timeLine.isDone));
    const progress = byId('counting');
    progress.hidden = timeLine.isDone;
    progress.textContent = timeLine.isDone
      ? ''
      : `reading the log: ${grouped(timeLine.scannedTo)} of ${grouped(this.#extent().next)} events`;
  }

  #label({ millis, first, width }: TimeLineReply): void {
    const extent = this.#extent();
    const length = Math.max(1, extent.next - extent.first);
    const begin = millis[0] ?? 0;
    const isOfOneDay =
      timeOfMillis(begin).slice(0, 10) === timeOfMillis(millis.at(-1) ?? begin).slice(0, 10);
    const count = Math.min(ticksMax, Math.max(2, Math.floor(this.#track.clientWidth / 170)));
    const ticks = Array.from({ length: count }, (_, index) => {
      const position = extent.first + (length * index) / (count - 1);
      const bucket = Math.min(millis.length - 1, Math.floor((position - first) / width));
      const time = timeOfMillis(millis[Math.max(0, bucket)] ?? begin);
      const tick = make('span', 'tick', isOfOneDay ? time.slice(11, 19) : time.slice(0, 16));
      tick.style.left = `${(100 * index) / (count - 1)}%`;
      return tick;
    });
    byId('ticks').replaceChildren(...(millis.length === 0 ? [] : ticks));
  }

  #showPosition(): void {
    const { position, time, shownPosition, snapshots } = this.#store.state;
    const { first, next } = this.#extent();
    const share = next === first ? 1 : (position - first) / (next - first);
    this.#slider.style.left = `${100 * share}%`;
    byId('later').style.left = `${100 * share}%`;
    const when = time === null ? 'before the first event' : `${shortTime(time)} UTC`;
    if (shownPosition === position) byId('when').textContent = when;
    setAttribute(this.#slider, 'aria-valuemin', String(first));
    setAttribute(this.#slider, 'aria-valuemax', String(next));
    setAttribute(this.#slider, 'aria-valuenow', String(position));
    const place = `position ${grouped(position)} of ${grouped(next)}`;
    const words = `${when}, ${place}, ${grouped(snapshots.size)} snapshots`;
    setAttribute(this.#slider, 'aria-valuetext', shownPosition === position ? words : place);
    const input = inputById('position');
    if (document.activeElement !== input) input.value = String(position);
    byId('position-max').textContent = `of ${grouped(next)}`;
  }

  #hover(clientX: number): void {
    const hover = byId('hover');
    const { timeLine } = this.#store.state;
    if (timeLine === null) return;
    const { left, width } = this.#track.getBoundingClientRect();
    const x = Math.max(0, Math.min(width, clientX - left));
    const position = this.#positionAt(clientX);
    const mark = this.#markNear(timeLine, x, width);
    const bucket = Math.floor((position - timeLine.first) / timeLine.width);
    const millis = timeLine.millis[Math.max(0, Math.min(bucket, timeLine.millis.length - 1))];
    const time = millis === undefined ? '' : timeOfMillis(mark?.millis ?? millis);
    const what = mark === undefined ? '' : ` · ${mark.type} ${visible(mark.summary)}`;
    hover.textContent = `${grouped(mark?.position ?? position)} · ${time}${what}`.slice(0, 160);
    hover.hidden = false;
    hover.classList.toggle('at-right', x > width / 2);
    hover.style.left = x > width / 2 ? '' : `${x}px`;
    hover.style.right = x > width / 2 ? `${width - x}px` : '';
  }

  #markNear({ marks }: TimeLineReply, x: number, width: number): Mark | undefined {
    const { first, next } = this.#extent();
    const distance = (mark: Mark): number =>
      Math.abs(((mark.position + 0.5 - first) / Math.max(1, next - first)) * width - x);
    const [nearest] = marks
      .filter((mark) => distance(mark) <= nearPixels)
      .sort((one, other) => distance(one) - distance(other));
    return nearest;
  }
}

const buttons = [
  ['to-first', 'Home'],
  ['to-mark-before', '['],
  ['to-before', 'ArrowLeft'],
  ['to-after', 'ArrowRight'],
  ['to-mark-after', ']'],
  ['to-last', 'End'],
] as const;
