/** One frame of `stratalog replay`, and the meaning of its keys. Pure: it does not use a terminal. */
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
  /** The delay until the next event; null while playback is paused. */
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

/** Takes a key of node:readline. Null if the key has no action. */
export function actionOf(key: {
  readonly name?: string | undefined;
  readonly sequence?: string | undefined;
  readonly ctrl?: boolean | undefined;
}): Action | null {
  if (key.ctrl === true) return actions.get(`ctrl-${key.name ?? ''}`) ?? null;
  // `name` is the same for g and G, and is missing for + and -.
  return actions.get(key.sequence ?? '') ?? actions.get(key.name ?? '') ?? null;
}

export interface FrameLine {
  readonly text: string;
  readonly mark: 'none' | 'now' | 'dim';
}

const help = '←/→ step   space play/pause   g/G begin/end   +/- speed   q quit';

/** The lines that fit on the screen, including the snapshot of the event. */
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

/** The recorded time since the previous event. */
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

/** At most `room` lines around the marked one. */
function windowOf(lines: readonly FrameLine[], room: number): readonly FrameLine[] {
  if (lines.length <= room) return lines;
  const marked = lines.findIndex(({ mark }) => mark === 'now');
  const start = Math.min(Math.max(marked - Math.floor(room / 2), 0), lines.length - room);
  return lines.slice(start, start + room);
}
