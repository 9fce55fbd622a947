/** The audit service of a daemon: over its own root, its own log, and a thread of its own pool. */
import { RootArchive } from '../inspect/archive/root-archive.js';
import type { Assembled } from '../api/assembly.js';
import { auditService, type Audit } from '../api/audit/audit-service.js';
import { questionsOnThread } from '../api/audit/audit-thread.js';
import type { Config } from './config/config.js';

/** Null when it is switched off. */
export function openAudit(
  core: Assembled,
  { audit, root, limits }: Pick<Config, 'audit' | 'root' | 'limits'>,
  onSent: (events: number) => void,
): Audit | null {
  if (!audit) return null;
  return auditService({
    log: core.log,
    archive: new RootArchive(core.host.disk, root),
    questions: questionsOnThread(core.host.workers, root),
    callsMax: limits.auditCalls,
    budgetMillis: limits.budgets.audit,
    onSent,
  });
}
