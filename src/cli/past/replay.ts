/** `stratalog replay`: watches the past go by, on a terminal by keys, elsewhere as lines. */
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
import { momentOf, quoted, requireReached } from '../args/moment.js';
import { printing, visible, type Output } from '../terminal/print.js';
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
Keys on a terminal: right or n, left or p: a step; space: play or stop; g, G: begin, end;
+, -: faster, slower; q: quit. Elsewhere, and with --json or --frames, it prints and ends.

It plays with the pauses that were between the events, divided by the speed, each for ${WAIT_MAX_MILLIS / 1000} seconds
on the screen at most; the first line says how long it really was. Where the clock was set back,
there is no pause.

Examples:
  stratalog replay --from 1d --speed 60x         the last day, a minute of it in a second
  stratalog replay --pace steady                 two events a second, whenever they were
  stratalog replay --from 1h --step              by hand, from an hour ago on
  stratalog replay --from 1h --frames | less     the tree after each event of the last hour`;

export function replayCommand(): Command {
  return withArchiveOption(new Command('replay'))
    .description('watch the past go by: the tree of snapshots and their states, event by event')
    .option('--from <moment>', 'where to begin; the first event that is kept by default')
    .option('--to <moment>', 'where to end; the end of the log by default')
    .option('--speed <factor>', 'so many times as fast as it was: 10x, 0.5x', '1x')
    .addOption(
      new Option('--pace <pace>', 'the pauses as they were, or two events a second times --speed')
        .choices(PACES)
        .default('real'),
    )
    .option('--step', 'begin stopped, and go by hand')
    .option('--frames', 'print the whole tree after each event')
    .option('--json', 'print a JSON object for each event, with the states before and after it')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText('after', examples)
    .action((flags: Flags) =>
      printing(flags, (out) =>
        withArchive(flags, systemDisk(), (archive) => run(archive, flags, out)),
      ),
    );
}

async function run(archive: Archive, flags: Flags, out: Output): Promise<void> {
  const now = systemClock().now();
  const speed = speedOf(flags.speed ?? '1x');
  const { first, next } = await archive.bounds();
  const from =
    flags.from === undefined ? first : await momentOf(archive, '--from', flags.from, now);
  requireReached(from, next);
  const to = flags.to === undefined ? next : await momentOf(archive, '--to', flags.to, now);
  requireReached(to, next);
  if (from > to) throw new UsageError(`--from is position ${from}, and --to is before it: ${to}`);
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
  throw new UsageError(`--speed ${quoted(text)}: say how many times as fast, for example 10x`);
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
  const place =
    id === null ? '' : `  ${before?.status ?? 'absent'} → ${after?.status ?? 'removed'}`;
  const head = `${String(record.position).padStart(8)}  ${formatTime(record.time)}  ${record.stream}`;
  await out.line(visible(`${head}  ${record.type}${place}  ${summaryOf(record)}`.trimEnd()));
  if (flags.frames !== true) return;
  const lines = treeLines({ states: steps.states(), step });
  await out.lines(lines.map(({ text, mark }) => `${mark === 'now' ? '*' : ' '}${text}`));
}
