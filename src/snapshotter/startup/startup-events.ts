/** The events of a startup, before anything is done: what started, and what was found. */
import { actionFor, isOrdinary, subjectOf, type Finding } from '../../inspect/startup/findings.js';
import { fileSystemEvents, tailCutEvent } from '../../inspect/events/owner-records.js';
import type { Plan } from '../../inspect/startup/plan.js';
import type { OpenedLog } from '../../log/log.js';
import type { DaemonEvent } from '../../machines/events/daemon-events.js';

/** Findings beyond this number are counted, not listed: the event must stay a small record. */
const FINDINGS_LISTED_MAX = 200;

export function startEvents(
  release: { readonly version: string; readonly node: string; readonly pid: number },
  opened: OpenedLog,
  plan: Plan,
  settings: Readonly<Record<string, unknown>>,
): readonly DaemonEvent[] {
  const { recovery, log } = opened;
  const started: DaemonEvent = {
    type: 'DaemonStarted',
    data: {
      release: release.version,
      node: release.node,
      pid: release.pid,
      epoch: log.identity.epoch,
      replayed: recovery.recordsReplayed,
      checkpoint: recovery.checkpoint,
      settings: { ...settings },
    },
  };
  const events: DaemonEvent[] = [started, ...fileSystemEvents(recovery.fileSystems)];
  if (recovery.tornTail !== null) events.push(tailCutEvent(recovery.tornTail));
  const findings = plan.findings.filter((finding) => !isOrdinary(finding));
  if (findings.length > 0 || plan.adopted.length > 0) {
    events.push(recoveryPlanned(findings, plan.adopted.length));
  }
  return events;
}

/** What was found and what is done about it, for audits. */
export function recoveryPlanned(findings: readonly Finding[], adopted: number): DaemonEvent {
  return {
    type: 'RecoveryPlanned',
    data: {
      adopted,
      findings: findings.slice(0, FINDINGS_LISTED_MAX).map((finding) => ({
        kind: finding.kind,
        subject: subjectOf(finding),
        action: actionFor(finding),
      })),
      omitted: Math.max(0, findings.length - FINDINGS_LISTED_MAX),
    },
  };
}
