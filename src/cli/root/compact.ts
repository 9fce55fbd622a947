/** `stratalog compact`: drops the beginning of a log, after showing what is lost. */
import { Command } from 'commander';
import { pluralize } from '../../base/pluralize.js';
import { UsageError } from '../../base/errors.js';
import { formatTime, type UnixNanos } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import {
  compact,
  planCompact,
  type Compacted,
  type CompactPlan,
  type CompactOptions,
} from '../../maintenance/compact.js';
import { confirm } from '../terminal/confirm.js';
import { heldRootHelp, requireNotHeld, withHeldRoot } from './held-root.js';
import { parseMoment, requireWithinLog } from '../args/moment.js';
import { humanSize, withOutput, type Output } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly before: string;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly json?: true;
}

export function compactCommand(): Command {
  return withRootOption(new Command('compact'))
    .description('drop the segments at the beginning of a log, after confirmation')
    .requiredOption(
      '--before <moment>',
      'position or time: RFC 3339, or a duration before now: 90d',
    )
    .option('--dry-run', 'only show what would be dropped; works while a daemon is running')
    .option('-y, --yes', 'do not ask for confirmation')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
${heldRootHelp}
Drops the segments that end before the moment, but never the newest one. Writes a checkpoint first if
none covers them. Afterwards, states are available only from the oldest remaining checkpoint on, which
may be later than the first remaining event. Dropped events cannot be restored: export them first.

Examples:
  stratalog compact --before 90d --dry-run
  stratalog export --to 90d -o old.jsonl && stratalog compact --before 90d

Exits 0, also with --dry-run and if there is nothing to drop.`,
    )
    .action((flags: Flags) => withOutput({}, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const now = systemClock().now();
  const query = queryOf(flags.before, now);
  const disk = systemDisk();
  if (flags.dryRun !== true) await requireNotHeld(root);
  if ('before' in query) {
    requireWithinLog(query.before, (await new RootArchive(disk, root).bounds()).next);
  }
  const plan = await planCompact(disk, root, query, now);
  const isJson = flags.json === true;
  if (!isJson) await out.lines(planLines(plan));
  await out.flush();
  if (flags.dryRun === true || plan.segments.length === 0) {
    if (isJson) await out.json('compact', jsonOf(root, plan, null));
    return;
  }
  // With --json the plan has not been shown.
  const options = { abortMessage: 'nothing was dropped', isForScript: isJson };
  if (flags.yes !== true) await confirm('Drop these events permanently?', options);
  const done = await withHeldRoot(root, 'compact', async (held) => {
    // A daemon may have run since the plan was made.
    const current = await planCompact(disk, root, { before: plan.keepFrom }, now);
    if (current.segments.join() !== plan.segments.join()) {
      throw new UsageError(
        'nothing was dropped: the log has changed since it was read; run the command again',
      );
    }
    return compact(held, plan);
  });
  if (isJson) await out.json('compact', jsonOf(root, plan, done));
  else await out.lines(doneLines(plan, done));
}

function queryOf(text: string, now: UnixNanos): CompactOptions {
  const moment = parseMoment('--before', text, now);
  return typeof moment === 'bigint' ? { olderThan: moment } : { before: moment };
}

function planLines(plan: CompactPlan): string[] {
  const { segments, bytes, from, keepFrom, records, oldest, newest } = plan;
  if (segments.length === 0) {
    return [
      'nothing to drop: no segment ends before that moment, and the newest is always kept',
      ...clockLines(plan.clock),
    ];
  }
  const { wholeLives, lostBeginnings, lostBeginningsOfRemoved, statesFrom } = plan;
  const time = (value: UnixNanos | null): string =>
    value === null ? 'unknown' : formatTime(value);
  return [
    'Will be dropped:',
    `  segments    ${segments.length}, ${humanSize(bytes)}`,
    `  records     ${records}, positions ${from} to ${keepFrom}; the log then begins at ${keepFrom}`,
    `  written     ${time(oldest)} to ${time(newest)}`,
    statesFrom === null
      ? '  states      all past states: the oldest remaining checkpoint is written now, at the end'
      : `  states      those before position ${statesFrom}, the oldest remaining checkpoint`,
    `  snapshots   all events of ${pluralize(wholeLives, 'removed snapshot')}`,
    `              the first events of ${pluralize(lostBeginnings, 'existing snapshot')}, which are not affected`,
    `              the first events of ${pluralize(lostBeginningsOfRemoved, 'snapshot')} removed later`,
    ...clockLines(plan.clock),
  ];
}

/** Ages depend on the clock of this machine, so a contradiction with the log is shown. */
function clockLines({ now, newest, aheadSegments, aheadTo }: CompactPlan['clock']): string[] {
  const lines: string[] = [];
  if (newest !== null && newest > now) {
    lines.push(
      `clock: warning: the time is ${formatTime(now)}, but the newest record is from ${formatTime(newest)}; ` +
        'check the clock before you continue',
    );
  }
  if (aheadTo !== null) {
    lines.push(
      `clock: warning: ${pluralize(aheadSegments, 'segment')} with times in the future, up to ` +
        `${formatTime(aheadTo)}; these records count as no younger than the records after them`,
    );
  }
  return lines;
}

function doneLines(plan: CompactPlan, { checkpoint, dropped }: Compacted): string[] {
  const made = checkpoint === null ? [] : [`checkpoint at position ${checkpoint}`];
  return [
    ...made,
    `dropped ${pluralize(dropped.length, 'segment')}; the log begins at position ${plan.keepFrom}`,
  ];
}

function jsonOf(root: string, plan: CompactPlan, done: Compacted | null) {
  const { oldest, newest, clock, ...rest } = plan;
  const timeText = (time: UnixNanos | null) => (time === null ? null : formatTime(time));
  return {
    root,
    ...rest,
    oldest: timeText(oldest),
    newest: timeText(newest),
    clock: {
      now: timeText(clock.now),
      newestRecord: timeText(clock.newest),
      aheadSegments: clock.aheadSegments,
      aheadTo: timeText(clock.aheadTo),
    },
    done: done !== null,
    checkpoint: done?.checkpoint ?? null,
  };
}
