/** `stratalog compact`: drops the beginning of a log, after it has said what would be forgotten. */
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
import { heldRootHelp, refuseLive, withHeldRoot } from './held-root.js';
import { parseMoment, requireReached } from '../args/moment.js';
import { humanSize, printing, type Output } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly before: string;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly json?: true;
}

export function compactCommand(): Command {
  return withRootOption(new Command('compact'))
    .description('drop the beginning of a log, below a checkpoint, after saying what is forgotten')
    .requiredOption('--before <moment>', 'a position, or a time: RFC 3339, or so long ago: 90d')
    .option('--dry-run', 'only say what would be forgotten; works beside a daemon too')
    .option('-y, --yes', 'do not ask')
    .option('--json', 'print a JSON object')
    .addHelpText(
      'after',
      `
${heldRootHelp}
Whole segments go, those that lie wholly before the moment; the newest always stays. A checkpoint
is written first when none covers them. The state of a moment can be told only behind the oldest
checkpoint that stays: beyond what goes, too. What is forgotten cannot be brought back: export it before.

Examples:
  stratalog compact --before 90d --dry-run
  stratalog export --to 90d -o old.jsonl && stratalog compact --before 90d

Exits 0 also with --dry-run and when there is nothing to drop.`,
    )
    .action((flags: Flags) => printing({}, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const now = systemClock().now();
  const query = queryOf(flags.before, now);
  const disk = systemDisk();
  if (flags.dryRun !== true) await refuseLive(root);
  if ('before' in query) {
    requireReached(query.before, (await new RootArchive(disk, root).bounds()).next);
  }
  const plan = await planCompact(disk, root, query, now);
  const isJson = flags.json === true;
  if (!isJson) await out.lines(planLines(plan));
  await out.flush();
  if (flags.dryRun === true || plan.segments.length === 0) {
    if (isJson) await out.json('compact', jsonOf(root, plan, null));
    return;
  }
  // With --json nothing was shown yet.
  const asking = { undone: 'nothing was dropped', isForScript: isJson };
  if (flags.yes !== true) await confirm('Forget this for ever?', asking);
  const done = await withHeldRoot(root, 'compact', async (held) => {
    // Somebody may have started and stopped a daemon since.
    const again = await planCompact(disk, root, { before: plan.keepFrom }, now);
    if (again.segments.join() !== plan.segments.join()) {
      throw new UsageError(
        'the log has changed since it was looked at: nothing was dropped. Ask again',
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
      'nothing to forget: no segment lies wholly before that moment, and the newest always stays',
      ...clockLines(plan.clock),
    ];
  }
  const { wholeLives, lostBeginnings, lostBeginningsOfRemoved, statesFrom } = plan;
  const time = (value: UnixNanos | null): string =>
    value === null ? 'unknown' : formatTime(value);
  return [
    'What is forgotten:',
    `  segments    ${segments.length}, ${humanSize(bytes)}`,
    `  records     ${records}, positions ${from} to ${keepFrom}; the log then begins at ${keepFrom}`,
    `  written     ${time(oldest)} to ${time(newest)}`,
    statesFrom === null
      ? '  states      all of the past: the oldest checkpoint that stays is made now, at the end'
      : `  states      those before position ${statesFrom}, where the oldest checkpoint that stays stands`,
    `  snapshots   ${pluralize(wholeLives, 'whole life', 'whole lives')} of snapshots that were removed`,
    `              ${pluralize(lostBeginnings, 'living snapshot')} whose beginning goes: they stay as they are`,
    `              ${pluralize(lostBeginningsOfRemoved, 'snapshot')} removed later, of which only the end stays`,
    ...clockLines(plan.clock),
  ];
}

/** What is old is decided by the clock of this machine: where the log contradicts it, both are shown. */
function clockLines({ now, newest, aheadSegments, aheadTo }: CompactPlan['clock']): string[] {
  const lines: string[] = [];
  if (newest !== null && newest > now) {
    lines.push(
      `clock: it shows ${formatTime(now)} here, and the newest record is of ${formatTime(newest)}: ` +
        'it is behind, or it was ahead then. Set it right first if you are not sure',
    );
  }
  if (aheadTo !== null) {
    lines.push(
      `clock: times up to ${formatTime(aheadTo)} in ${pluralize(aheadSegments, 'segment')} are still to ` +
        'come; what bears them counts as no younger than what was written after it',
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
  const timeOf = (time: UnixNanos | null) => (time === null ? null : formatTime(time));
  return {
    root,
    ...rest,
    oldest: timeOf(oldest),
    newest: timeOf(newest),
    clock: {
      now: timeOf(clock.now),
      newestRecord: timeOf(clock.newest),
      aheadSegments: clock.aheadSegments,
      aheadTo: timeOf(clock.aheadTo),
    },
    done: done !== null,
    checkpoint: done?.checkpoint ?? null,
  };
}
