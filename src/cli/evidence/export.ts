/** `stratalog export`: a log as a file that is read, kept and verified without Stratalog. */
import { Command, Option } from 'commander';
import { UsageError } from '../../base/errors.js';
import { formatTime, type Position } from '../../base/units.js';
import { RELEASE } from '../../api/release.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import { exportAsLines, type ExportSummary } from '../../export/export-jsonl.js';
import { exportAsTar } from '../../export/export-tar.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import { EXIT } from '../exit-codes.js';
import { endOf } from './log-end.js';
import { momentOf } from '../args/moment.js';
import { withOutputFile } from './new-file.js';
import type { ResultTarget } from '../terminal/result-writer.js';
import { readingProgress } from '../terminal/reading-progress.js';
import { say } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly format: 'jsonl' | 'tar';
  readonly output?: string;
  readonly from?: string;
  readonly to?: string;
}

export function exportCommand(): Command {
  return withRootOption(new Command('export'))
    .description('write a log to a file that can be kept, sent and verified without Stratalog')
    .addOption(
      new Option('--format <format>', 'lines of JSON for readers, or the files themselves as tar')
        .choices(['jsonl', 'tar'])
        .default('jsonl'),
    )
    .option('-o, --output <file>', 'a file that is not there yet (default: stdout)')
    .option('--from <moment>', 'first position, or behind all that had happened by a time')
    .option('--to <moment>', 'up to this moment, not including it')
    .addHelpText(
      'after',
      `
Reads without a lock, beside a daemon too. Nothing is ever overwritten.
docs/export.md has the formats, and a recipe with sha256sum and jq that verifies lines of JSON.

Examples:
  stratalog export -o log.jsonl
  stratalog export --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z | jq .type
  stratalog export --format tar -o log.tar

Exits 0 when the export is whole, 1 when no event is in the range, 3 when the log is damaged and the export ends there.`,
    )
    .action(run);
}

async function run(flags: Flags): Promise<void> {
  const root = await rootOf(flags);
  if (flags.format === 'tar') refuseForTar(flags);
  const progress = readingProgress(systemDisk(), process.stderr);
  progress.step('exporting');
  try {
    const pieces = await piecesOf(root, flags, progress.disk);
    const summary = await withOutputFile(flags.output, (target) => drain(pieces, target));
    progress.erase();
    tell(summary, flags);
  } finally {
    progress.erase();
  }
}

function refuseForTar({ output, from, to }: Flags): void {
  if (from !== undefined || to !== undefined) {
    throw new UsageError('a tar holds whole segments: for a part of the log use --format jsonl');
  }
  if (output === undefined && process.stdout.isTTY) {
    throw new UsageError('a tar is not for a terminal: name a file with -o, or use a pipe');
  }
}

type Pieces = AsyncGenerator<string | Uint8Array, ExportSummary, undefined>;

async function piecesOf(
  root: string,
  flags: Flags,
  disk: ReturnType<typeof systemDisk>,
): Promise<Pieces> {
  const now = systemClock().now();
  const query = {
    release: `stratalog ${RELEASE}`,
    exported: formatTime(now),
    damageAtEnd: async () => (await endOf(root)).damage,
  };
  if (flags.format === 'tar') {
    return exportAsTar(disk, root, { ...query, modified: new Date(Number(now / 1_000_000n)) });
  }
  const archive = new RootArchive(disk, root);
  const moment = (flag: string, text: string | undefined): Promise<Position | undefined> =>
    text === undefined ? Promise.resolve(undefined) : momentOf(archive, flag, text, now);
  const from = await moment('--from', flags.from);
  const to = await moment('--to', flags.to);
  if (from !== undefined && to !== undefined && to < from) {
    throw new UsageError(`--to is position ${to} and lies before --from, position ${from}`);
  }
  return exportAsLines(disk, root, {
    ...query,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  });
}

async function drain(pieces: Pieces, target: ResultTarget): Promise<ExportSummary> {
  for (;;) {
    const piece = await pieces.next();
    if (piece.done === true) return exported(piece.value);
    await target.write(piece.value);
  }
}

/** An export that was asked for and holds nothing must not be taken for one that holds it. */
function exported(summary: ExportSummary): ExportSummary {
  const { from, records, stopped } = summary;
  if (records > 0 || stopped !== null) return summary;
  throw new Error(`nothing is exported: there is no event from position ${from} on in this range`);
}

function tell(summary: ExportSummary, flags: Flags): void {
  const { from, to, records, chain, stopped } = summary;
  if (stopped !== null) {
    say(`the export ends before position ${to}: ${stopped}`);
    process.exitCode = EXIT.findings;
  }
  const where = flags.output === undefined || flags.output === '-' ? '' : ` in ${flags.output}`;
  const what = `${records} record${records === 1 ? '' : 's'}`;
  say(`${what}, positions ${from} to ${to}, chain head ${chain}${where}`);
}
