/** The audit service of a daemon: over its own root, its own log, and a thread of its own pool. */
import { RootArchive } from '../inspect/root-archive.js';
import type { Assembled } from './assembly.js';
import { auditService, type Audit } from './audit.js';
import { questionsOnThread } from './audit-thread.js';
import type { Config } from './config.js';

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
