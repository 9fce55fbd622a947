/** `stratalog verify`: the whole log checked, and everything that is wrong with it told. */
import { Command } from 'commander';
import { threadedChecker } from '../../api/root/segment-checker.js';
import { systemDisk } from '../../host/files/disk.js';
import { segmentSums } from '../../inspect/events/segment-digests.js';
import { checkEvents, type EventFinding } from '../../inspect/archive/check-events.js';
import type { LogFinding, VerifySummary } from '../../log/verify/findings.js';
import { pluralize } from '../../base/pluralize.js';
import { UsageError } from '../../base/errors.js';
import { verifyLog } from '../../log/verify/verify.js';
import { againstOf, judgeAgainst } from './against.js';
import { EXIT } from '../exit-codes.js';
import { liveHolder } from '../root/holder.js';
import type { Output } from '../terminal/print.js';
import { printing, visible } from '../terminal/print.js';
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
    .description('check a whole log: checksums, hash chain, streams, checkpoints, events')
    .option('--quick', 'only headers, checkpoints and the newest segment, and no events')
    .option(
      '--no-events',
      'without the events, which is fast: full segments by the sums that the log keeps of them',
    )
    .option(
      '--every-record',
      'with --no-events: believe no sum, and check full segments record by record',
    )
    .option(
      '--against <head>',
      'prove, record by record, that the log extends a head: a file of attest, HASH or POSITION:HASH',
    )
    .option('--public-key <file>', 'check the signatures of --against with this key in PEM')
    .option('--json', 'print a JSON object for each finding, and one for the summary')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText(
      'after',
      `
Examples:
  stratalog verify
  stratalog verify --no-events                                     whether anything was damaged since
  stratalog verify --against heads.jsonl --public-key public.pem   it extends what was attested

Exits 0 when nothing is wrong, 3 when something was found or --against is not proven.`,
    )
    .action((flags: Flags) => printing(flags, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  if (flags.publicKey !== undefined && flags.against === undefined) {
    throw new UsageError('--public-key checks what --against names: give both');
  }
  if (flags.quick === true && flags.everyRecord === true) {
    throw new UsageError('--quick reads the newest segment only, and --every-record all: give one');
  }
  const against =
    flags.against === undefined ? null : await againstOf(flags.against, flags.publicKey);
  const progress = readingProgress(systemDisk(), process.stderr);
  const { disk } = progress;
  // Beside a writer the end of the newest segment is simply not written yet.
  const isLive = (await liveHolder(root)) !== null;
  const report = new Report(out, flags.json === true);
  let summary: VerifySummary | null = null;
  const checkSegment = threadedChecker((bytes) => {
    progress.count(bytes);
  });
  try {
    progress.step('checking records');
    // A sum is the word of whoever wrote the event: nothing is proved by it.
    const bySums = !flags.events && flags.everyRecord !== true && against === null;
    const how = { quick: flags.quick === true, checkSegment, sums: segmentSums, bySums };
    const query = { root, disk, ...how };
    for await (const item of verifyLog(query)) {
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
  const unproved =
    against === null ? 0 : await judgeAgainst(systemDisk(), root, against, { out, isJson });
  if (report.count + unproved > 0) process.exitCode = EXIT.findings;
}

class Report {
  /** Findings that are more than information. */
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
    // Told as it is found: the rest may take long.
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
    const begin = from === 0 ? '' : ` (from ${from} on; what was before is retired)`;
    const sums = vouched === 0 ? '' : `; ${vouched} of ${segments} segments by their sums`;
    const partly = flags.events ? '' : ` (without the events${sums})`;
    const part = isQuick ? ' (quick: the newest segment only)' : partly;
    const found = this.count === 0 ? '' : `; ${pluralize(this.count, 'finding')}`;
    if (damage > 0) {
      const whole = `${pluralize(records, 'record')} ${records === 1 ? 'is' : 'are'} whole`;
      await this.out.line(`sound up to position ${verifiedTo}${begin}; ${whole}${part}${found}`);
      return;
    }
    await this.out.line(
      `verified up to position ${verifiedTo}${begin}, chain head ${chain}, ` +
        `${pluralize(records, 'record')}, ${bytes} bytes${part}${found}`,
    );
  }
}

/** WHERE has room for the name of a checkpoint and a position of eight digits. */
const columns = (severity: string, kind: string, where: string, found: string): string =>
  [severity.padEnd(8), kind.padEnd(20), where.padEnd(56), found].join('  ');

function whereOf(finding: LogFinding | EventFinding): string {
  if ('subject' in finding) return `position ${finding.position}, ${finding.subject}`;
  const { segment, offset, position } = finding;
  const file = segment === '' ? '' : `, ${segment} at ${offset}`;
  return `position ${position}${file}`;
}
