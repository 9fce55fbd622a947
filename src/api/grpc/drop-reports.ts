/**
 * Rate-limits the log lines about closed connections: a misbehaving client can cause thousands
 * per second.
 */
import { pluralize } from '../../base/pluralize.js';
import type { DropReason } from './listener.js';

/** Minimum time between two lines for the same reason. */
const intervalMillis = 10_000;

interface Pending {
  /** Connections closed since the last line. */
  count: number;
  readonly timer: NodeJS.Timeout;
}

/** For each reason: logs the first connection at once, then a count every ten seconds. */
export class DropReports {
  private readonly pending = new Map<DropReason, Pending>();

  constructor(private readonly report: (message: string) => void) {}

  add(reason: DropReason): void {
    const pending = this.pending.get(reason);
    if (pending !== undefined) {
      pending.count += 1;
      return;
    }
    const timer = setInterval(() => this.flush(reason), intervalMillis);
    timer.unref();
    this.pending.set(reason, { count: 0, timer });
    this.report(`connection closed: ${reason}`);
  }

  /** Reports the pending counts and stops the timers. */
  close(): void {
    for (const [reason, { count, timer }] of this.pending) {
      clearInterval(timer);
      if (count > 0) this.report(summary(count, reason));
    }
    this.pending.clear();
  }

  private flush(reason: DropReason): void {
    const pending = this.pending.get(reason);
    if (pending === undefined) return;
    if (pending.count === 0) {
      clearInterval(pending.timer);
      this.pending.delete(reason);
      return;
    }
    const { count } = pending;
    pending.count = 0;
    this.report(summary(count, reason));
  }
}

function summary(count: number, reason: DropReason): string {
  return `${pluralize(count, 'more connection')} closed: ${reason}`;
}
