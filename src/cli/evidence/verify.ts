/** `stratalog verify`: checks a whole log and prints all findings. */
import { Command } from 'commander';
import { threadedChecker } from '../../api/root/segment-checker.js';
import { systemDisk } from '../../host/files/disk.js';
import { segmentSums } from '../../inspect/events/segment-digests.js';
import { checkEvents, type EventFinding } from '../../inspect/archive/check-events.js';
import type { LogFinding, VerifySummary } from '../../log/verify/findings.js';
import { pluralize } from '../../base/pluralize.js';
import { UsageError } from '../../base/errors.js';
import { verifyLog } from '../../log/verify/verify.js';
import { checkAgainst, parseAgainst } from './against.js';
import { EXIT } from '../exit-codes.js';
import { liveHolder } from '../root/holder.js';
import type { Output } from '../terminal/print.js';
import { withOutput, visible } from '../terminal/print.js';
import { readingProgress } from '../terminal/reading-progress.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly quick?: true;
  /** False for `--no-events`. */
  readonly events: boolean;
  readonly everyRecord?: true;
  readonly against?: string;
  readonly publicKey?: string;
  readonly json?: true;
  readonly trunc: boolean;
}

export function verifyCommand(): Command {
  return withRootOption(new Command('verify'))
    .description('verify a whole log: checksums, hash chain, streams, checkpoints, events')
    .option('--quick', 'check only headers, checkpoints and the newest segment, without events')
    .option(
      '--no-events',
      'do not replay events; check sealed segments by their recorded digests, which is fast',
    )
    .option('--every-record', 'with --no-events: check every record instead of the digests')
    .option(
      '--against <head>',
      'prove that the log extends a head: a file of attestations, HASH or POSITION:HASH',
    )
    .option('--public-key <file>', 'public key in PEM format, to check signatures of --against')
    .option('--json', 'print one JSON object per finding, and one for the summary')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText(
      'after',
      `
Examples:
  stratalog verify
  stratalog verify --no-events                                     check for damage only
  stratalog verify --against heads.jsonl --public-key public.pem   check that the log was not rewritten

Exits 0 if the log is sound, 3 if there are findings or --against is not proven.`,
    )
    .action((flags: Flags) => withOutput(flags, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  if (flags.publicKey !== undefined && flags.against === undefined) {
    throw new UsageError('--public-key requires --against');
  }
  if (flags.quick === true && flags.everyRecord === true) {
    throw new UsageError('--quick and --every-record are mutually exclusive');
  }
  const against =
    flags.against === undefined ? null : await parseAgainst(flags.against, flags.publicKey);
  const progress = readingProgress(systemDisk(), process.stderr);
  const { disk } = progress;
  // While a daemon writes, an incomplete record at the end is not a torn tail.
  const isLive = (await liveHolder(root)) !== null;
  const report = new Report(out, flags.json === true);
  let summary: VerifySummary | null = null;
  const checkSegment = threadedChecker((bytes) => {
    progress.count(bytes);
  });
  try {
    progress.step('checking records');
    // A digest in the log proves nothing: a rewritten log can have rewritten digests.
    const bySums = !flags.events && flags.everyRecord !== true && against === null;
    const depth = { quick: flags.quick === true, checkSegment, sums: segmentSums, bySums };
    for await (const item of verifyLog({ root, disk, ...depth })) {
      if (item.kind === 'summary') {
        summary = item;
        continue;
      }
      if (isLive && item.kind === 'torn-tail') continue;
      progress.erase();
      await report.found(item);
    }
    if (flags.events && flags.quick !== true) {
      progress.step('replaying events');
      for await (const finding of checkEvents(disk, root)) {
        progress.erase();
        await report.found(finding);
      }
    }
  } finally {
    progress.erase();
    await checkSegment.close();
  }
  if (summary !== null) await report.end(summary, flags);
  const isJson = flags.json === true;
  const unproven =
    against === null ? 0 : await checkAgainst(systemDisk(), root, against, { out, isJson });
  if (report.count + unproven > 0) process.exitCode = EXIT.findings;
}

class Report {
  /** The number of findings, without those of severity info. */
  count = 0;
  #hasHeading = false;

  constructor(
    private readonly out: Output,
    private readonly isJson: boolean,
  ) {}

  async found(finding: LogFinding | EventFinding): Promise<void> {
    if (finding.severity !== 'info') this.count += 1;
    if (this.isJson) {
      await this.out.json('verify-finding', { ...finding });
    } else {
      if (!this.#hasHeading) await this.out.line(columns('SEVERITY', 'KIND', 'WHERE', 'FOUND'));
      this.#hasHeading = true;
      const { red, yellow } = this.out.colors;
      const { severity, kind } = finding;
      const paint = { damage: red, warning: yellow, info: String }[severity];
      const line = columns(severity, kind, whereOf(finding), finding.detail);
      await this.out.line(paint(visible(line)));
    }
    // Printed at once: the rest may take long.
    await this.out.flush();
  }

  async end(summary: VerifySummary, flags: Flags): Promise<void> {
    const isQuick = flags.quick === true;
    const { from, verifiedTo, chain, records, bytes, segments, vouched } = summary;
    const { damage, warnings } = summary;
    if (this.isJson) {
      await this.out.json('verify-summary', {
        ...{ from, verifiedTo, chain, records, bytes, segments, vouched },
        ...{ damage, warnings },
        findings: this.count,
        quick: isQuick,
        events: flags.events && !isQuick,
      });
      return;
    }
    const begin = from === 0 ? '' : ` (from position ${from}; earlier events are retired)`;
    const sums = vouched === 0 ? '' : `; ${vouched} of ${segments} segments by digest`;
    const partly = flags.events ? '' : ` (without events${sums})`;
    const part = isQuick ? ' (quick: the newest segment only)' : partly;
    const found = this.count === 0 ? '' : `; ${pluralize(this.count, 'finding')}`;
    if (damage > 0) {
      const valid = pluralize(records, 'valid record');
      await this.out.line(`sound up to position ${verifiedTo}${begin}, ${valid}${part}${found}`);
      return;
    }
    await this.out.line(
      `verified up to position ${verifiedTo}${begin}, chain head ${chain}, ` +
        `${pluralize(records, 'record')}, ${bytes} bytes${part}${found}`,
    );
  }
}

/** WHERE fits the name of a checkpoint and a position of eight digits. */
const columns = (severity: string, kind: string, where: string, found: string): string =>
  [severity.padEnd(8), kind.padEnd(20), where.padEnd(56), found].join('  ');

function whereOf(finding: LogFinding | EventFinding): string {
  if ('subject' in finding) return `position ${finding.position}, ${finding.subject}`;
  const { segment, offset, position } = finding;
  const file = segment === '' ? '' : `, ${segment} at ${offset}`;
  return `position ${position}${file}`;
}
