/** `stratalog replay`: replays a log event by event, interactively on a terminal, else as lines. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { UsageError } from '../../base/errors.js';
import { formatTime, position } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { ReplaySteps, type Step } from '../../inspect/snapshot/replay-steps.js';
import { summaryOf } from '../../inspect/events/summary.js';
import { withArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { resolveMoment, quoted, requireWithinLog } from '../args/moment.js';
import { withOutput, visible, type Output } from '../terminal/print.js';
import { treeLines } from './replay-frame.js';
import { PACES, WAIT_MAX_MILLIS, type Pace } from './replay-pace.js';
import { viewReplay } from './replay-view.js';

interface Flags extends ArchiveFlags {
  readonly from?: string;
  readonly to?: string;
  readonly speed?: string;
  readonly pace: Pace;
  readonly step?: true;
  readonly frames?: true;
  readonly json?: true;
  readonly trunc: boolean;
}

const examples = `
Keys: right or n, left or p: step; space: play or pause; g, G: go to begin, end; +, -: faster,
slower; q: quit. Without a terminal, and with --json or --frames, prints all events and exits.

Playback keeps the recorded delays between events, divided by the speed and limited to ${WAIT_MAX_MILLIS / 1000} seconds;
the first line shows the recorded delay. If the clock was set back, there is no delay.

Examples:
  stratalog replay --from 1d --speed 60x         the last day, one minute per second
  stratalog replay --pace steady                 two events per second
  stratalog replay --from 1h --step              step through the last hour
  stratalog replay --from 1h --frames | less     the tree after each event of the last hour`;

export function replayCommand(): Command {
  return withArchiveOption(new Command('replay'))
    .description('replay the tree of snapshots and their states, event by event')
    .option('--from <moment>', 'where to begin (default: the begin of the log)')
    .option('--to <moment>', 'where to end (default: the end of the log)')
    .option('--speed <factor>', 'playback speed: 10x, 0.5x', '1x')
    .addOption(
      new Option('--pace <pace>', 'keep the recorded delays, or show two events per second')
        .choices(PACES)
        .default('real'),
    )
    .option('--step', 'start paused')
    .option('--frames', 'print the whole tree after each event')
    .option('--json', 'print one JSON object per event, with the states before and after it')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', examples)
    .action((flags: Flags) =>
      withOutput(flags, (out) =>
        withArchive(flags, systemDisk(), (archive) => run(archive, flags, out)),
      ),
    );
}

async function run(archive: Archive, flags: Flags, out: Output): Promise<void> {
  const now = systemClock().now();
  const speed = speedOf(flags.speed ?? '1x');
  const { first, next } = await archive.bounds();
  const from =
    flags.from === undefined ? first : await resolveMoment(archive, '--from', flags.from, now);
  requireWithinLog(from, next);
  const to = flags.to === undefined ? next : await resolveMoment(archive, '--to', flags.to, now);
  requireWithinLog(to, next);
  if (from > to) throw new UsageError(`--to (position ${to}) is before --from (position ${from})`);
  const steps = await ReplaySteps.at(archive, position(from));
  try {
    const isPrinted = flags.json === true || flags.frames === true;
    if (!isPrinted && out.terminal.canRedraw && process.stdin.isTTY) {
      const isPlaying = flags.step !== true;
      await viewReplay({ steps, from, to, pace: flags.pace, speed, isPlaying, out });
      return;
    }
    while (steps.position < to) {
      const step = await steps.forward();
      if (step === null) return;
      await print(out, step, steps, flags);
      await sleep(0);
    }
  } finally {
    await steps.close();
  }
}

function speedOf(text: string): number {
  const value = /^\d{1,6}(\.\d{1,3})?x?$/.test(text) ? Number(text.replace('x', '')) : 0;
  if (value > 0) return value;
  throw new UsageError(`--speed ${quoted(text)}: not a speed; use for example 10x or 0.5x`);
}

async function print(out: Output, step: Step, steps: ReplaySteps, flags: Flags): Promise<void> {
  const { record, id, before, after } = step;
  if (flags.json === true) {
    await out.json('replay-step', {
      position: record.position,
      time: formatTime(record.time),
      id,
      type: record.type,
      summary: summaryOf(record),
      name: (after ?? before)?.name ?? null,
      before: before?.status ?? null,
      after: after?.status ?? null,
    });
    return;
  }
  const transition =
    id === null ? '' : `  ${before?.status ?? 'absent'} → ${after?.status ?? 'removed'}`;
  const head = `${String(record.position).padStart(8)}  ${formatTime(record.time)}  ${record.stream}`;
  await out.line(visible(`${head}  ${record.type}${transition}  ${summaryOf(record)}`.trimEnd()));
  if (flags.frames !== true) return;
  const lines = treeLines({ states: steps.states(), step });
  await out.lines(lines.map(({ text, mark }) => `${mark === 'now' ? '*' : ' '}${text}`));
}
