/**
 * What a person should look at while the daemon goes on serving: directories that it keeps or
 * cannot delete, clients that do not see its mounts, clients that share its socket. Each has a name of
 * the health service (`advisoryNames` in health.ts).
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

  /** How many clients have each fault. */
  clientFaults(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const fault of Object.keys(affectedBy)) {
      counts[fault] = this.#clientReports.filter((report) => report.fault === fault).length;
    }
    return counts;
  }

  /**
   * Looks after events, and now and then: a directory that could not be looked at has no event.
   * Answers what ends that.
   */
  watchDirectories(core: DaemonCore, everyMillis: number): () => void {
    let reported: string | null = null;
    const look = () => {
      const reason = directoriesReason(core);
      if (reason === reported) return;
      reported = reason;
      this.health.report('directories', reason, ['directories']);
    };
    look();
    const timer = setInterval(look, everyMillis);
    timer.unref();
    const batches = core.log.durableBatches.subscribe(look);
    return () => {
      clearInterval(timer);
      batches.unsubscribe();
    };
  }
}

/** What `systemctl status` shows while all is well. */
export function statusLine(core: DaemonCore): string {
  const { active, view, committed, unavailable } = core.snapshotter.counts();
  const total = active + view + committed;
  const lost = unavailable === 0 ? '' : `, ${unavailable} layer(s) unavailable`;
  const reason = directoriesReason(core);
  const troubles = reason === null ? '' : `, ${reason}`;
  return `serving ${total} snapshot(s)${lost}${troubles}; log at position ${core.log.durablePosition}`;
}

/** Null when all directories are as the log has them. */
function directoriesReason(core: DaemonCore): string | null {
  const { setAside, failing } = core.snapshotter.directoryProblems();
  const parts = [
    ...(setAside === 0 ? [] : [`${pluralize(setAside, 'directory', 'directories')} set aside`]),
    ...(failing === 0
      ? []
      : [`${pluralize(failing, 'directory', 'directories')} that cannot be deleted`]),
  ];
  if (parts.length === 0) return null;
  return `${parts.join(', ')}; stratalog inspect shows which, and why`;
}
