/** The audit service of a daemon: over its own root, its own log, and a thread of its own pool. */
import { RootArchive } from '../inspect/root-archive.js';
import type { Assembled } from './assembly.js';
import { auditService, auditSubscriptions, type Audit } from './audit.js';
import { strictAuditService } from './audit-requests.js';
import { questionsOnThread } from './audit-thread.js';
import type { Config } from './config.js';
import type { ServiceRegistration } from './server.js';

export interface OpenedAudit extends Audit {
  readonly registration: ServiceRegistration;
}

/** Null when it is switched off. */
export function openAudit(
  core: Assembled,
  { audit, root, limits }: Pick<Config, 'audit' | 'root' | 'limits'>,
  onSent: (events: number) => void,
): OpenedAudit | null {
  if (!audit) return null;
  const opened = auditService({
    log: core.log,
    archive: new RootArchive(core.host.disk, root),
    questions: questionsOnThread(core.host.workers, root),
    callsMax: limits.auditCalls,
    budgetMillis: limits.budgets.audit,
    onSent,
  });
  const registration = {
    definition: strictAuditService,
    implementation: opened.service,
    subscriptions: auditSubscriptions,
  };
  return { ...opened, registration };
}
