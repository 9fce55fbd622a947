/** `stratalog export`: writes a log to a file that can be read and verified without Stratalog. */
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
import { resolveMoment } from '../args/moment.js';
import { withOutputFile } from './new-file.js';
import type { ResultTarget } from '../terminal/result-writer.js';
import { readingProgress } from '../terminal/reading-progress.js';
import { printNotice } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly format: 'jsonl' | 'tar';
  readonly output?: string;
  readonly from?: string;
  readonly to?: string;
}

export function exportCommand(): Command {
  return withRootOption(new Command('export'))
    .description('export a log to a file that can be read and verified without Stratalog')
    .addOption(
      new Option('--format <format>', 'JSON lines, or a tar of the log files')
        .choices(['jsonl', 'tar'])
        .default('jsonl'),
    )
    .option('-o, --output <file>', 'new file to write (default: stdout)')
    .option('--from <moment>', 'start at this position, or after this time')
    .option('--to <moment>', 'stop before this position or time')
    .addHelpText(
      'after',
      `
Takes no lock and works while a daemon is running. Never overwrites a file.
docs/export.md describes the formats, and how to verify JSON lines with sha256sum and jq.

Examples:
  stratalog export -o log.jsonl
  stratalog export --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z | jq .type
  stratalog export --format tar -o log.tar

Exits 0 if the export is complete, 1 if the range has no events, 3 if it ends at damage in the log.`,
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
    report(summary, flags);
  } finally {
    progress.erase();
  }
}

function refuseForTar({ output, from, to }: Flags): void {
  if (from !== undefined || to !== undefined) {
    throw new UsageError('--from and --to require --format jsonl: a tar has whole segments');
  }
  if (output === undefined && process.stdout.isTTY) {
    throw new UsageError('refusing to write a tar to a terminal: use -o or a pipe');
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
    text === undefined ? Promise.resolve(undefined) : resolveMoment(archive, flag, text, now);
  const from = await moment('--from', flags.from);
  const to = await moment('--to', flags.to);
  if (from !== undefined && to !== undefined && to < from) {
    throw new UsageError(`--to (position ${to}) is before --from (position ${from})`);
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
    if (piece.done === true) return requireRecords(piece.value);
    await target.write(piece.value);
  }
}

/** An export without records must not look like a successful one. */
function requireRecords(summary: ExportSummary): ExportSummary {
  const { from, records, stopped } = summary;
  if (records > 0 || stopped !== null) return summary;
  throw new Error(`nothing to export: no events in the range that starts at position ${from}`);
}

function report(summary: ExportSummary, flags: Flags): void {
  const { from, to, records, chain, stopped } = summary;
  if (stopped !== null) {
    printNotice(`the export ends before position ${to}: ${stopped}`);
    process.exitCode = EXIT.findings;
  }
  const where = flags.output === undefined || flags.output === '-' ? '' : ` in ${flags.output}`;
  const what = `${records} record${records === 1 ? '' : 's'}`;
  printNotice(`${what}, positions ${from} to ${to}, chain head ${chain}${where}`);
}
