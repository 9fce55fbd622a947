/** Draws the time line on a canvas: a bar per bucket, in the colours of the style sheet. */
import type { TimeLineReply } from '../wire.js';

export interface Extent {
  readonly first: number;
  readonly next: number;
}

export interface Picture {
  readonly canvas: HTMLCanvasElement;
  readonly timeLine: TimeLineReply;
  readonly extent: Extent;
}

const barsTop = 14;

export function drawTimeLine({ canvas, timeLine, extent }: Picture): void {
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext('2d');
  if (pen === null || width === 0) return;
  pen.scale(ratio, ratio);
  const colour = coloursOf(canvas);
  const scale = width / Math.max(1, extent.next - extent.first);
  const xOf = (position: number): number => (position - extent.first) * scale;
  drawBars(pen, timeLine, { height, colour, xOf });
  for (const { position, type, isWarning } of timeLine.marks) {
    const x = xOf(position + 0.5);
    pen.fillStyle = colour(isWarning ? '--group-warning' : '--ink');
    if (isWarning) drawDiamond(pen, x);
    else pen.fillRect(x - 0.75, type === 'DaemonStarted' ? 0 : 5, 1.5, barsTop - 3);
  }
}

interface Drawing {
  readonly height: number;
  readonly colour: (name: string) => string;
  readonly xOf: (position: number) => number;
}

function drawBars(
  pen: CanvasRenderingContext2D,
  { buckets, groups, first, width }: TimeLineReply,
  { height, colour, xOf }: Drawing,
): void {
  const colours = groups.map((group) => colour(`--group-${group}`));
  const room = height - barsTop;
  for (const [index, counts] of buckets.entries()) {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const left = xOf(first + index * width);
    const right = xOf(first + (index + 1) * width);
    const gap = right - left > 4 ? 1 : 0;
    // All buckets except the last have the same number of events, so only their mixture differs.
    const high = room * Math.min(1, total / width);
    let bottom = height;
    for (const [group, count] of counts.entries()) {
      if (count === 0) continue;
      const part = (high * count) / total;
      pen.fillStyle = colours[group] ?? '';
      pen.fillRect(left, bottom - part, Math.max(0.6, right - left - gap), part);
      bottom -= part;
    }
  }
}

function drawDiamond(pen: CanvasRenderingContext2D, x: number): void {
  pen.beginPath();
  pen.moveTo(x, 1);
  pen.lineTo(x + 4.5, 5.5);
  pen.lineTo(x, 10);
  pen.lineTo(x - 4.5, 5.5);
  pen.closePath();
  pen.fill();
}

function coloursOf(element: Element): (name: string) => string {
  const style = getComputedStyle(element);
  return (name) => style.getPropertyValue(name).trim();
}
