/** One picture of the past for a terminal, and what its keys mean. Pure: no terminal is touched here. */
import { formatTime } from '../../base/units.js';
import { durationInWords, sinceInWords } from '../../inspect/events/durations.js';
import type { Step } from '../../inspect/snapshot/replay-steps.js';
import { treeRows } from '../../inspect/snapshot/state-view.js';
import { summaryOf } from '../../inspect/events/summary.js';
import type { SnapshotState } from '../../machines/fold.js';
import { visible } from '../terminal/print.js';
import type { Pace, Wait } from './replay-pace.js';

export interface Frame {
  readonly position: number;
  readonly next: number;
  readonly step: Step | null;
  readonly states: readonly SnapshotState[];
  readonly pace: Pace;
  readonly speed: number;
  /** Until the next event, while it plays; null while it is stopped. */
  readonly wait: Wait | null;
}

export type Action = 'forward' | 'back' | 'begin' | 'end' | 'play' | 'faster' | 'slower' | 'quit';

const actions: ReadonlyMap<string, Action> = new Map<string, Action>([
  ...(['right', 'n', 'l'] as const).map((key) => [key, 'forward'] as const),
  ...(['left', 'p', 'h'] as const).map((key) => [key, 'back'] as const),
  ['g', 'begin'],
  ['home', 'begin'],
  ['G', 'end'],
  ['end', 'end'],
  ['space', 'play'],
  ['+', 'faster'],
  ['-', 'slower'],
  ['q', 'quit'],
  ['escape', 'quit'],
  ['ctrl-c', 'quit'],
]);

/** As node:readline tells of a key. Null for one that means nothing. */
export function actionOf(key: {
  readonly name?: string | undefined;
  readonly sequence?: string | undefined;
  readonly ctrl?: boolean | undefined;
}): Action | null {
  if (key.ctrl === true) return actions.get(`ctrl-${key.name ?? ''}`) ?? null;
  // What was typed tells G from g, and knows + and -.
  return actions.get(key.sequence ?? '') ?? actions.get(key.name ?? '') ?? null;
}

export interface FrameLine {
  readonly text: string;
  readonly mark: 'none' | 'now' | 'dim';
}

const help = '←/→ step   space play   g/G begin/end   +/- speed   q quit';

/** As many lines as fit; the snapshot of the event is among them. */
export function frameLines(frame: Frame, rows: number): readonly FrameLine[] {
  const { position, next, step } = frame;
  const time = step === null ? '' : `  ${formatTime(step.record.time)}${sinceText(step)}`;
  const event =
    step === null ? '' : `${step.record.type}  ${step.record.stream}  ${summaryOf(step.record)}`;
  return [
    { text: `position ${position} of ${next}${time}${playingText(frame)}`, mark: 'none' },
    { text: visible(event), mark: 'now' },
    { text: '', mark: 'none' },
    ...windowOf(treeLines(frame), Math.max(rows - 5, 1)),
    { text: '', mark: 'none' },
    { text: help, mark: 'dim' },
  ];
}

/** How long it really was since the event before. */
function sinceText({ sincePrevious }: Step): string {
  return sincePrevious === null ? '' : ` (${sinceInWords(sincePrevious)})`;
}

function playingText({ pace, speed, wait }: Frame): string {
  if (wait === null) return '';
  const steady = pace === 'steady' ? ' steady' : '';
  const { millis, shortened } = wait;
  const gap =
    shortened === null
      ? ''
      : `: next after ${durationInWords(shortened)}, shortened to ${millis / 1000} s`;
  return `  playing ${speed}x${steady}${gap}`;
}

export function treeLines({ states, step }: Pick<Frame, 'states' | 'step'>): readonly FrameLine[] {
  return treeRows(states).map(({ state, branch }) => ({
    text: `${String(state.id).padStart(5)}  ${branch}${visible(state.name)}  ${state.status}`,
    mark: state.id === step?.id ? 'now' : 'none',
  }));
}

/** So many lines at most, round the marked one. */
function windowOf(lines: readonly FrameLine[], room: number): readonly FrameLine[] {
  if (lines.length <= room) return lines;
  const marked = lines.findIndex(({ mark }) => mark === 'now');
  const start = Math.min(Math.max(marked - Math.floor(room / 2), 0), lines.length - room);
  return lines.slice(start, start + room);
}
