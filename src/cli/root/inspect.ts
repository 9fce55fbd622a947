/** `stratalog inspect`: shows what startup would find and do, without doing it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { pluralize } from '../../base/pluralize.js';
import { openHost } from '../../host/host.js';
import type { Finding } from '../../inspect/startup/findings.js';
import { causesOf, type Cause, type CauseSubject } from '../../inspect/startup/causes.js';
import { reportOf } from '../../inspect/startup/report.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import type { LogDamaged } from '../../log/errors.js';
import { snapshotsDirectory } from '../../log/files.js';
import type { LogFinding } from '../../log/verify/findings.js';
import { formatTime } from '../../base/units.js';
import { EXIT } from '../exit-codes.js';
import { compareWithContainerd, type ContainerdFlags } from './inspect-containerd.js';
import type { Output } from '../terminal/print.js';
import { withOutput, visible } from '../terminal/print.js';
import { scanRoot, type ScanRootOptions, type RootScan } from './root-scan.js';
import { rootEvenWithoutLog, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags, ContainerdFlags {
  readonly offline?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly wide?: true;
  readonly trunc: boolean;
}

/** The delay between two scans. Findings in both are not races with the running daemon. */
const secondScanMillis = 300;

export function inspectCommand(): Command {
  return withRootOption(new Command('inspect'))
    .description('show what startup would find and do; read-only, works while a daemon is running')
    .option('--offline', 'root of another machine: ignore the mount table of this machine')
    .option('--containerd <path>', 'compare with containerd: its socket, meta.db or root directory')
    .option('--snapshotter <name>', 'name of the snapshotter in containerd (default: stratalog)')
    .option('--json', 'print one JSON object')
    .option('--wide', 'also print the event that caused each finding, and what would be lost')
    .option('-q, --quiet', 'print only the subjects of findings; with --containerd, the commands')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText(
      'after',
      `
Examples:
  stratalog inspect                                         what the next startup would find and do
  stratalog inspect --root /mnt/copy --offline              a root from another machine
  stratalog inspect --containerd /run/containerd/containerd.sock

Exits 0 if there are no findings, 3 if there are some. docs/recovery.md explains each kind.`,
    )
    .action((flags: Flags) => {
      // The ctr commands must not have shortened digests.
      const trunc = flags.trunc && flags.containerd === undefined;
      return withOutput({ trunc }, (out) => run(flags, out));
    });
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootEvenWithoutLog(flags);
  const { containerd } = flags;
  if (containerd !== undefined) return compareWithContainerd(root, containerd, flags, out);
  const host = openHost({ root });
  try {
    const scan = await stableScan({ root, host, isOffline: flags.offline === true });
    const rows = findingRows(scan);
    const causes = async (): Promise<readonly Cause[]> => {
      const archive = new RootArchive(host.disk, root);
      const subjects = rows.map(({ causeSubject }) => causeSubject);
      return causesOf(archive, subjects, snapshotsDirectory(scan.root));
    };
    if (flags.json === true) await out.json('inspect', jsonFields(scan, rows, await causes()));
    else if (flags.quiet === true) await out.lines(rows.map(({ subject }) => visible(subject)));
    else await printScan(out, scan, rows, flags.wide === true ? await causes() : null);
    if (rows.some(({ isOrdinary }) => !isOrdinary)) process.exitCode = EXIT.findings;
  } finally {
    await host.close();
  }
}

/** Keeps only findings that a second scan confirms: with a daemon running, a scan is not atomic. */
export async function stableScan(options: ScanRootOptions): Promise<RootScan> {
  const first = await scanRoot(options);
  if (first.holder === null || first.plan.findings.length === 0) return first;
  await sleep(secondScanMillis);
  const second = await scanRoot(options);
  const before = new Set(first.plan.findings.map((finding) => JSON.stringify(finding)));
  const findings = second.plan.findings.filter((finding) => before.has(JSON.stringify(finding)));
  return { ...second, plan: { ...second.plan, findings } };
}

/** Only `stratalog repair --dry-run` reads the whole log, and knows what damage loses. */
const lossUnknown = 'see stratalog repair --dry-run';

const logLoss = ({ kind, severity }: LogFinding): string => {
  if (kind === 'torn-tail') return 'an unacknowledged append';
  return severity === 'damage' ? lossUnknown : 'nothing';
};

/** A printed finding. */
export interface InspectRow {
  readonly kind: string;
  readonly subject: string;
  readonly evidence: string;
  readonly action: string;
  readonly loss: string;
  readonly isOrdinary: boolean;
  /** The fields of the finding, for JSON. */
  readonly detail: Finding | LogFinding | null;
  readonly causeSubject: CauseSubject;
}

export function findingRows(scan: RootScan): InspectRow[] {
  const { refusal, damage, logFindings, plan, holder } = scan;
  // The refusal reports the same finding, with advice.
  const others = logFindings.filter(({ kind }) => kind !== refusal?.reason);
  const rows: InspectRow[] = others.map((finding) => ({
    kind: finding.kind,
    subject: `${finding.segment} at offset ${finding.offset}, position ${finding.position}`,
    evidence: finding.detail,
    action: logAction(finding),
    loss: logLoss(finding),
    isOrdinary: false,
    detail: finding,
    causeSubject: { of: 'log', position: finding.position },
  }));
  if (damage !== null && !logFindings.some((found) => isSamePlace(found, damage))) {
    rows.push(damageRow(damage));
  }
  if (refusal !== null) {
    rows.unshift({
      kind: refusal.reason,
      subject: refusal.root,
      evidence: refusal.message,
      action: 'refuse to start',
      loss: 'nothing',
      isOrdinary: false,
      detail: null,
      causeSubject: { of: 'root' },
    });
  }
  // A refused startup carries out nothing.
  const notDone =
    refusal === null ? {} : { action: 'nothing: startup is refused', loss: 'nothing' };
  for (const finding of plan.findings) {
    const report = reportOf(finding, holder !== null);
    const causeSubject: CauseSubject = { of: 'snapshots', finding };
    rows.push({ ...report, ...notDone, detail: finding, causeSubject });
  }
  return rows;
}

const isSamePlace = (finding: LogFinding, { position }: LogDamaged): boolean =>
  finding.severity === 'damage' && finding.position === position;

/** For damage that the replay found: the quick check only reads the newest segment. */
function damageRow({ segment, offset, position, found }: LogDamaged): InspectRow {
  return {
    kind: 'log-damaged',
    subject: `${segment} at offset ${offset}, position ${position}`,
    evidence: found,
    action: 'refuse to start',
    loss: lossUnknown,
    isOrdinary: false,
    detail: null,
    causeSubject: { of: 'log', position },
  };
}

/** What startup does about a finding in the log. */
function logAction({ kind, severity }: LogFinding): string {
  if (severity === 'damage') return 'refuse to start';
  if (kind === 'torn-tail') return 'cut it and keep a copy';
  return kind === 'checkpoint-unusable' ? 'start without it' : 'report only';
}

function jsonFields(
  scan: RootScan,
  rows: readonly InspectRow[],
  causes: readonly Cause[],
): Readonly<Record<string, unknown>> {
  const { root, holder, identity, refusal, mountsUnknown, plan, position, checkpoint } = scan;
  return {
    root,
    daemon: holder,
    mounts: mountsUnknown === null ? 'known' : 'unknown',
    mountsUnknownBecause: mountsUnknown,
    log: {
      uuid: identity?.uuid ?? null,
      epoch: identity?.epoch ?? null,
      position,
      checkpoint,
      refusal: refusal?.reason ?? null,
      comparedWithDirectories: scan.damage === null,
    },
    snapshots: scan.snapshots,
    adopted: plan.adopted,
    findings: rows.map((row, index) => ({
      kind: row.kind,
      subject: row.subject,
      evidence: row.evidence,
      action: row.action,
      loss: row.loss,
      ...causeFields(causes[index]),
      detail: row.detail,
      ordinary: row.isOrdinary,
    })),
  };
}

async function printScan(
  out: Output,
  scan: RootScan,
  rows: readonly InspectRow[],
  causes: readonly Cause[] | null,
): Promise<void> {
  if (rows.length > 0) {
    const cells = rows.map(
      ({ kind, action, subject, evidence, loss, causeSubject, isOrdinary }, index) => [
        isOrdinary ? out.colors.dim(kind) : out.colors.yellow(kind),
        isOrdinary ? `${action} (ordinary)` : action,
        visible(subject),
        visible(evidence),
        ...(causes === null
          ? []
          : [visible(loss), visible(causeText(causeSubject, causes[index]))]),
      ],
    );
    const head = ['KIND', 'AT NEXT STARTUP', 'SUBJECT', 'EVIDENCE'];
    await out.table(causes === null ? head : [...head, 'LOST', 'CAUSE'], cells);
    await out.line('');
  }
  await out.lines(summaryLines(scan, rows));
}

function causeText({ of }: CauseSubject, cause: Cause | undefined): string {
  if (cause === undefined) return '';
  if (cause.kind !== 'event') return `${cause.kind}: ${cause.why}`;
  const { type, position, time } = cause.record;
  return `${of === 'log' ? 'after ' : ''}${type} at position ${position}, ${formatTime(time)}`;
}

function causeFields(cause: Cause | undefined): Readonly<Record<string, unknown>> {
  if (cause?.kind !== 'event') {
    return {
      cause: null,
      noCauseBecause: cause?.why ?? null,
      causeUnknown: cause?.kind === 'unknown',
    };
  }
  const { position, time, stream, type } = cause.record;
  return {
    cause: { position, time: formatTime(time), stream, type },
    noCauseBecause: null,
    causeUnknown: false,
  };
}

function summaryLines(scan: RootScan, rows: readonly InspectRow[]): string[] {
  const { holder, mountsUnknown, identity, position, checkpoint, snapshots, plan } = scan;
  const since = holder?.startedAt == null ? '' : ` since ${holder.startedAt}`;
  const daemon = holder === null ? 'none on this machine' : `process ${holder.pid}${since}`;
  const { active, view, committed, remote, unavailable, preparing, removing } = snapshots;
  const takenOf = checkpoint?.takenOf == null ? '' : `, of ${checkpoint.takenOf}`;
  const ordinary = rows.filter((row) => row.isOrdinary).length;
  return [
    `root        ${visible(scan.root)}`,
    `daemon      ${daemon}`,
    `log         position ${position}, epoch ${identity?.epoch ?? 'unknown'}`,
    checkpoint === null
      ? 'checkpoint  none: startup replays the whole log'
      : `checkpoint  at position ${checkpoint.position}${takenOf}; ${recordsAfter(position - checkpoint.position)}`,
    `snapshots   ${committed} committed (${remote} remote, ${unavailable} unavailable), ` +
      `${active} active, ${view} view; ${preparing} being prepared, ${removing} being removed`,
    ...(scan.damage === null
      ? []
      : ['directories not compared: the log is damaged, so that their owners are unknown']),
    mountsUnknown === null
      ? `mounts      ${plan.adopted.length} of remote layers are correct`
      : `mounts      unknown: ${visible(mountsUnknown)}`,
    `findings    ${rows.length - ordinary}${ordinary === 0 ? '' : `, and ${ordinary} ordinary`}`,
  ];
}

/** The records that startup replays after the checkpoint. Negative if the log is damaged. */
function recordsAfter(records: number): string {
  if (records < 0) return 'the log ends before it';
  return `${pluralize(records, 'record')} after it`;
}
