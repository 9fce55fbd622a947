/**
 * Problems that an administrator should check while the daemon keeps serving: directories that are
 * set aside or cannot be deleted, clients that do not see its mounts, clients that share its
 * socket. Each has a name in the health service (`advisoryNames` in health.ts).
 */
import { pluralize } from '../../base/pluralize.js';
import type { ClientFault, ClientReport } from '../../snapshotter/clients/client-reports.js';
import type { DaemonCore } from '../daemon-core.js';
import type { Health, HealthName } from '../../api/grpc/health.js';

const affectedBy: Readonly<Record<ClientFault, HealthName>> = {
  'hidden mounts': 'mounts',
  'shared socket': 'clients',
};

export class Advisories {
  #clientReports: readonly ClientReport[] = [];

  constructor(private readonly health: Pick<Health, 'report'>) {}

  clientsChanged(reports: readonly ClientReport[]): void {
    this.#clientReports = reports;
    for (const [fault, affected] of Object.entries(affectedBy)) {
      const reasons = reports.flatMap((report) => (report.fault === fault ? [report.reason] : []));
      this.health.report(fault, reasons.length === 0 ? null : reasons.join('. '), [affected]);
    }
  }

  /** The number of clients with each fault. */
  clientFaults(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const fault of Object.keys(affectedBy)) {
      counts[fault] = this.#clientReports.filter((report) => report.fault === fault).length;
    }
    return counts;
  }

  /**
   * Checks after each batch of events, and periodically because a directory that cannot be read has
   * no event. Returns a function that stops it.
   */
  watchDirectories(core: DaemonCore, everyMillis: number): () => void {
    let reported: string | null = null;
    const check = () => {
      const reason = directoriesReason(core);
      if (reason === reported) return;
      reported = reason;
      this.health.report('directories', reason, ['directories']);
    };
    check();
    const timer = setInterval(check, everyMillis);
    timer.unref();
    const batches = core.log.durableBatches.subscribe(check);
    return () => {
      clearInterval(timer);
      batches.unsubscribe();
    };
  }
}

/** Shown by `systemctl status` while the daemon is serving. */
export function statusLine(core: DaemonCore): string {
  const { active, view, committed, unavailable } = core.snapshotter.counts();
  const total = active + view + committed;
  const lost = unavailable === 0 ? '' : `, ${pluralize(unavailable, 'layer')} unavailable`;
  const reason = directoriesReason(core);
  const warning = reason === null ? '' : `, ${reason}`;
  return `serving ${pluralize(total, 'snapshot')}${lost}${warning}; log at position ${core.log.durablePosition}`;
}

/** Shown by `systemctl status` during recovery. */
export const recoveryStatus = (core: DaemonCore): string =>
  `serving; recovering from ${pluralize(core.plan.findings.length, 'finding')}`;

/** Null if all directories match the log. */
function directoriesReason(core: DaemonCore): string | null {
  const { setAside, failing } = core.snapshotter.directoryProblems();
  const parts = [
    ...(setAside === 0 ? [] : [`${pluralize(setAside, 'directory', 'directories')} set aside`]),
    ...(failing === 0
      ? []
      : [`${pluralize(failing, 'directory', 'directories')} that cannot be deleted`]),
  ];
  if (parts.length === 0) return null;
  return `${parts.join(', ')}; run 'stratalog inspect' for details`;
}
