/** Opens the daemon's audit service on its root, its log and its worker threads. */
import { RootArchive } from '../inspect/archive/root-archive.js';
import type { Assembled } from '../api/assembly.js';
import { auditService, type Audit } from '../api/audit/audit-service.js';
import { queriesOnThread } from '../api/audit/audit-thread.js';
import type { Config } from './config/config.js';

/** Null if it is disabled. */
export function openAudit(
  core: Assembled,
  { audit, root, limits }: Pick<Config, 'audit' | 'root' | 'limits'>,
  onSent: (events: number) => void,
): Audit | null {
  if (!audit) return null;
  return auditService({
    log: core.log,
    archive: new RootArchive(core.host.disk, root),
    queries: queriesOnThread(core.host.workers, root),
    callsMax: limits.auditCalls,
    budgetMillis: limits.budgets.audit,
    onSent,
  });
}
