/**
 * Renders the snapshot statechart as SVG, with the current state and the path to it highlighted. A
 * stand-alone picture contains its colours. The page in the browser has its own style sheet for the
 * same classes, because its content security policy allows no inline styles.
 */
import { assert } from '../../base/assert.js';
import {
  arrowPositions,
  chartFrame,
  statePositions,
  type PlacedLabel,
  type Point,
} from './chart-layout.js';
import { snapshotOutline, type ChartArrow, type ChartState } from './chart-outline.js';

export interface ChartMarks {
  /** Path of the current state of the snapshot. */
  readonly lit: string | null;
  /** Ids of the arrows that it followed. */
  readonly taken: ReadonlySet<string>;
  /** Paths of the states that it was in. */
  readonly visited: ReadonlySet<string>;
}

const noMarks: ChartMarks = { lit: null, taken: new Set(), visited: new Set() };

export interface PictureOptions {
  readonly marks?: ChartMarks;
  /** Contains its own colours, for light and dark. */
  readonly isStandAlone: boolean;
}

export function chartSvg({ marks = noMarks, isStandAlone }: PictureOptions): string {
  const { x, y, width, height } = chartFrame;
  const size = isStandAlone ? ` width="${width}" height="${height}"` : '';
  const { states, arrows } = snapshotOutline;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${x} ${y} ${width} ${height}"${size} class="chart" role="img" aria-label="${titleOf(marks)}">`,
    ...(isStandAlone ? [`<style>${styleText}</style>`] : []),
    ...(isStandAlone
      ? [`<rect class="paper" x="${x}" y="${y}" width="${width}" height="${height}"/>`]
      : []),
    // Compound states first, so that their child states are drawn over them.
    ...states.filter(({ isCompound }) => isCompound).map((state) => stateSvg(state, marks)),
    ...inOrder(arrows, marks).map((arrow) => arrowSvg(arrow, marks)),
    ...states.filter(({ isCompound }) => !isCompound).map((state) => stateSvg(state, marks)),
    '</svg>',
    '',
  ].join('\n');
}

function titleOf({ lit }: ChartMarks): string {
  return lit === null ? 'Statechart of a snapshot' : `Statechart of a snapshot in state ${lit}`;
}

/** Highlighted arrows last, so that they are visible where several arrows share a line. */
function inOrder(arrows: readonly ChartArrow[], { taken }: ChartMarks): readonly ChartArrow[] {
  return arrows.toSorted((one, other) => Number(taken.has(one.id)) - Number(taken.has(other.id)));
}

function stateSvg({ path, isFinal, isCompound }: ChartState, marks: ChartMarks): string {
  const place = statePositions.get(path);
  assert(place !== undefined, 'every state has a position in the picture', () => path);
  const { x, y, width, height } = place;
  const classes = [
    'state',
    isCompound && 'compound',
    isFinal && 'final',
    marks.visited.has(path) && 'visited',
    marks.lit === path && 'lit',
  ];
  const name = path.slice(path.lastIndexOf('.') + 1);
  const title = isCompound
    ? `<text class="name" x="${x + 14}" y="${y + 23}">${name}</text>`
    : `<text class="name" x="${x + width / 2}" y="${y + height / 2 + 5}" text-anchor="middle">${name}</text>`;
  const inner = isFinal
    ? `<rect class="inner" x="${x + 4}" y="${y + 4}" width="${width - 8}" height="${height - 8}" rx="6"/>`
    : '';
  return (
    `<g class="${joined(classes)}" data-state="${path}">` +
    `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="9"/>${inner}${title}</g>`
  );
}

function arrowSvg(arrow: ChartArrow, marks: ChartMarks): string {
  const place = arrowPositions.get(arrow.id);
  assert(place !== undefined, 'every arrow has a position in the picture', () => arrow.id);
  const { line, label } = place;
  const words = arrow.guard === null ? arrow.event : `${arrow.event} [${arrow.guard}]`;
  return (
    `<g class="${joined(['arrow', marks.taken.has(arrow.id) && 'taken'])}" data-arrow="${arrow.id}">` +
    `<path class="line" d="${roundedPath(line)}"/><path class="tip" d="${tipPath(line)}"/>` +
    `${label === null ? '' : labelSvg(label, words)}</g>`
  );
}

function labelSvg({ at: [x, y], anchor, isUpright }: PlacedLabel, words: string): string {
  const turn = isUpright === true ? ` transform="rotate(-90 ${x} ${y})"` : '';
  return `<text x="${x}" y="${y}" text-anchor="${anchor}"${turn}>${words}</text>`;
}

const joined = (classes: readonly (string | false)[]): string =>
  classes.filter((name) => name !== false).join(' ');

const cornerRadius = 9;

function roundedPath(line: readonly Point[]): string {
  const parts = line.map((point, index) => {
    const before = line[index - 1];
    const after = line[index + 1];
    if (before === undefined) return `M${at(point)}`;
    // The tip covers the end of the line.
    if (after === undefined) return `L${at(towards(point, before, 6))}`;
    const into = towards(point, before, cornerRadius);
    const out = towards(point, after, cornerRadius);
    return `L${at(into)}Q${at(point)} ${at(out)}`;
  });
  return parts.join('');
}

function tipPath(line: readonly Point[]): string {
  const tip = line.at(-1);
  const before = line.at(-2);
  assert(tip !== undefined && before !== undefined, 'an arrow has at least two points');
  const [x, y] = towards(tip, before, 9);
  const [sideX, sideY] = [(tip[1] - y) / 2, (x - tip[0]) / 2];
  return `M${at(tip)}L${at([x + sideX, y + sideY])}L${at([x - sideX, y - sideY])}Z`;
}

/** The point at a distance from one point towards another, at most half-way. */
function towards(from: Point, to: Point, distance: number): Point {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const share = Math.min(distance, length / 2) / length;
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}

const at = ([x, y]: Point): string => `${round(x)} ${round(y)}`;
const round = (value: number): number => Math.round(value * 10) / 10;

const styleText = `
.chart{--paper:#fff;--ink:#1d2733;--quiet:#5b6875;--line:#8a97a5;--box:#f3f6f9;--edge:#b6c1cc;--way:#0b62a8;--lit:#ffd873;--lit-edge:#8a5a00;--lit-ink:#1d2733;font:13px system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
@media (prefers-color-scheme:dark){.chart{--paper:#12181f;--ink:#e3e9ef;--quiet:#9aa8b6;--line:#66758a;--box:#1c252f;--edge:#435162;--way:#6cb6f5;--lit:#c98f1d;--lit-edge:#ffd873;--lit-ink:#12181f}}
.chart .paper{fill:var(--paper)}
.chart .state rect{fill:var(--box);stroke:var(--edge);stroke-width:1.5}
.chart .state .inner{fill:none}
.chart .compound rect{fill:none;stroke-dasharray:5 4}
.chart .name{fill:var(--ink);font-size:14px;font-weight:600}
.chart .arrow text{fill:var(--quiet);font-size:12.5px}
.chart .line{fill:none;stroke:var(--line);stroke-width:1.4}
.chart .tip{fill:var(--line)}
.chart .visited rect{stroke:var(--way);stroke-width:2}
.chart .taken .line{stroke:var(--way);stroke-width:2.6}
.chart .taken .tip{fill:var(--way)}
.chart .taken text{fill:var(--way);font-weight:600}
.chart .lit rect{fill:var(--lit);stroke:var(--lit-edge);stroke-width:2.5}
.chart .lit .name{fill:var(--lit-ink)}
`;
