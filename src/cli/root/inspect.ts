/** `stratalog inspect`: what a start would find and do, told without doing any of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
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
import { printing, visible } from '../terminal/print.js';
import { scanRoot, type ScanRootOptions, type RootScan } from './root-scan.js';
import { namedRoot, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags, ContainerdFlags {
  readonly offline?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly wide?: true;
  readonly trunc: boolean;
}

/** Between two looks beside a daemon; what both see is no race with its work. */
const secondLookMillis = 300;

export function inspectCommand(): Command {
  return withRootOption(new Command('inspect'))
    .description('tell what a start would find and do; changes nothing, beside a daemon too')
    .option('--offline', 'a root from elsewhere: leave the mount table of this machine out')
    .option('--containerd <path>', "compare with containerd's list: its socket, meta.db or root")
    .option('--snapshotter <name>', 'how containerd calls this snapshotter (default: stratalog)')
    .option('--json', 'print one JSON object')
    .option('--wide', 'also the event behind each finding, and what would be lost')
    .option('-q, --quiet', 'print only the subjects of findings; of a comparison, the ctr lines')
    .option('--no-trunc', 'print digests whole on a terminal too')
    .addHelpText(
      'after',
      `
Examples:
  stratalog inspect                                         what the next start would find and do
  stratalog inspect --root /mnt/copy --offline              a root from another machine
  stratalog inspect --containerd /run/containerd/containerd.sock

Exits 0 when there is nothing to do, 3 when something was found. docs/recovery.md explains each kind.`,
    )
    .action((flags: Flags) => {
      // Half a line for a shell would be a wrong one.
      const trunc = flags.trunc && flags.containerd === undefined;
      return printing({ trunc }, (out) => run(flags, out));
    });
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await namedRoot(flags);
  const { containerd } = flags;
  if (containerd !== undefined) return compareWithContainerd(root, containerd, flags, out);
  const host = openHost({ root });
  try {
    const look = await settledLook({ root, host, isOffline: flags.offline === true });
    const rows = findingsOf(look);
    const causes = async (): Promise<readonly Cause[]> => {
      const archive = new RootArchive(host.disk, root);
      const matters = rows.map(({ matter }) => matter);
      return causesOf(archive, matters, snapshotsDirectory(look.root));
    };
    if (flags.json === true) await out.json('inspect', jsonFields(look, rows, await causes()));
    else if (flags.quiet === true) await out.lines(rows.map(({ subject }) => visible(subject)));
    else await printLook(out, look, rows, flags.wide === true ? await causes() : null);
    if (rows.some(({ isOrdinary }) => !isOrdinary)) process.exitCode = EXIT.findings;
  } finally {
    await host.close();
  }
}

/** Beside a daemon, log and directories cannot be read at one moment: only what lasts counts. */
export async function settledLook(options: ScanRootOptions): Promise<RootScan> {
  const first = await scanRoot(options);
  if (first.holder === null || first.plan.findings.length === 0) return first;
  await sleep(secondLookMillis);
  const second = await scanRoot(options);
  const before = new Set(first.plan.findings.map((finding) => JSON.stringify(finding)));
  const findings = second.plan.findings.filter((finding) => before.has(JSON.stringify(finding)));
  return { ...second, plan: { ...second.plan, findings } };
}

/** What damage costs is said by `stratalog repair --dry-run`, which reads all of the log. */
const lossUnknown = 'see stratalog repair --dry-run';

const logLoss = ({ kind, severity }: LogFinding): string => {
  if (kind === 'torn-tail') return 'an append that nobody was told of';
  return severity === 'damage' ? lossUnknown : 'nothing';
};

/** A finding of any sort, as it is printed. */
export interface FoundRow {
  readonly kind: string;
  readonly subject: string;
  readonly evidence: string;
  readonly action: string;
  readonly loss: string;
  readonly isOrdinary: boolean;
  /** Its own fields, for JSON. */
  readonly detail: Finding | LogFinding | null;
  readonly matter: CauseSubject;
}

export function findingsOf(look: RootScan): FoundRow[] {
  const { refusal, damage, logFindings, plan, holder } = look;
  // A refusal says the same with advice.
  const told = logFindings.filter(({ kind }) => kind !== refusal?.reason);
  const rows: FoundRow[] = told.map((finding) => ({
    kind: finding.kind,
    subject: `${finding.segment} at offset ${finding.offset}, position ${finding.position}`,
    evidence: finding.detail,
    action: logAction(finding),
    loss: logLoss(finding),
    isOrdinary: false,
    detail: finding,
    matter: { of: 'log', position: finding.position },
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
      matter: { of: 'root' },
    });
  }
  // A start that is refused does none of it.
  const undone =
    refusal === null ? {} : { action: 'nothing: the start is refused', loss: 'nothing' };
  for (const finding of plan.findings) {
    const report = reportOf(finding, holder !== null);
    const matter: CauseSubject = { of: 'snapshots', finding };
    rows.push({ ...report, ...undone, detail: finding, matter });
  }
  return rows;
}

const isSamePlace = (finding: LogFinding, { position }: LogDamaged): boolean =>
  finding.severity === 'damage' && finding.position === position;

/** A quick look at the log reads its newest segment alone; the replay came further. */
function damageRow({ segment, offset, position, found }: LogDamaged): FoundRow {
  return {
    kind: 'log-damaged',
    subject: `${segment} at offset ${offset}, position ${position}`,
    evidence: found,
    action: 'refuse to start',
    loss: lossUnknown,
    isOrdinary: false,
    detail: null,
    matter: { of: 'log', position },
  };
}

/** What a start does about a finding in the log itself. */
function logAction({ kind, severity }: LogFinding): string {
  if (severity === 'damage') return 'refuse to start';
  if (kind === 'torn-tail') return 'cut it and keep it aside';
  return kind === 'checkpoint-unusable' ? 'start without it' : 'report only';
}

function jsonFields(
  look: RootScan,
  rows: readonly FoundRow[],
  causes: readonly Cause[],
): Readonly<Record<string, unknown>> {
  const { root, holder, identity, refusal, mountsUnknown, plan, position, checkpoint } = look;
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
      comparedWithDirectories: look.damage === null,
    },
    snapshots: look.snapshots,
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

async function printLook(
  out: Output,
  look: RootScan,
  rows: readonly FoundRow[],
  causes: readonly Cause[] | null,
): Promise<void> {
  if (rows.length > 0) {
    const cells = rows.map(
      ({ kind, action, subject, evidence, loss, matter, isOrdinary }, index) => [
        isOrdinary ? out.colors.dim(kind) : out.colors.yellow(kind),
        isOrdinary ? `${action} (ordinary)` : action,
        visible(subject),
        visible(evidence),
        ...(causes === null ? [] : [visible(loss), visible(causeText(matter, causes[index]))]),
      ],
    );
    const head = ['KIND', 'AT THE NEXT START', 'SUBJECT', 'EVIDENCE'];
    await out.table(causes === null ? head : [...head, 'LOST', 'EVENT BEHIND IT'], cells);
    await out.line('');
  }
  await out.lines(summaryLines(look, rows));
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

function summaryLines(look: RootScan, rows: readonly FoundRow[]): string[] {
  const { holder, mountsUnknown, identity, position, checkpoint, snapshots, plan } = look;
  const since = holder?.startedAt == null ? '' : ` since ${holder.startedAt}`;
  const daemon = holder === null ? 'none on this machine' : `process ${holder.pid}${since}`;
  const { active, view, committed, remote, unavailable, preparing, removing } = snapshots;
  const takenOf = checkpoint?.takenOf == null ? '' : `, of ${checkpoint.takenOf}`;
  const ordinary = rows.filter((row) => row.isOrdinary).length;
  return [
    `root        ${visible(look.root)}`,
    `daemon      ${daemon}`,
    `log         position ${position}, epoch ${identity?.epoch ?? 'unknown'}`,
    checkpoint === null
      ? 'checkpoint  none: a start replays the whole log'
      : `checkpoint  at position ${checkpoint.position}${takenOf}; ${behindOf(position - checkpoint.position)}`,
    `snapshots   ${committed} committed (${remote} remote, ${unavailable} unavailable), ` +
      `${active} active, ${view} view; ${preparing} being prepared, ${removing} being removed`,
    ...(look.damage === null
      ? []
      : ['directories not compared: behind the damage the log cannot say whose they are']),
    mountsUnknown === null
      ? `mounts      ${plan.adopted.length} of remote layers right as they stand`
      : `mounts      unknown: ${visible(mountsUnknown)}`,
    `findings    ${rows.length - ordinary}${ordinary === 0 ? '' : `, and ${ordinary} ordinary`}`,
  ];
}

/** How many records a start replays behind its checkpoint. Fewer than none: the log is damaged. */
function behindOf(records: number): string {
  if (records < 0) return 'the log ends before it';
  return `${records} ${records === 1 ? 'record' : 'records'} behind it`;
}
