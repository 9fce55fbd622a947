/**
 * Connections that we closed, told in few lines: a client gone wild makes thousands a second, and
 * a line for each would push everything else out of the log.
 */
import type { DropReason } from './listener.js';

/** After a line, the next one of the same reason comes no sooner. */
const quietMillis = 10_000;

interface Quiet {
  /** Connections closed since the last line. */
  untold: number;
  readonly timer: NodeJS.Timeout;
}

/** For each reason: the first one at once, the others by number every ten seconds. */
export class DropReports {
  private readonly quiet = new Map<DropReason, Quiet>();

  constructor(private readonly report: (message: string) => void) {}

  add(reason: DropReason): void {
    const quiet = this.quiet.get(reason);
    if (quiet !== undefined) {
      quiet.untold += 1;
      return;
    }
    const timer = setInterval(() => this.tell(reason), quietMillis);
    timer.unref();
    this.quiet.set(reason, { untold: 0, timer });
    this.report(`connection closed: ${reason}`);
  }

  /** Tells what is not told yet, and forgets. */
  close(): void {
    for (const [reason, { untold, timer }] of this.quiet) {
      clearInterval(timer);
      if (untold > 0) this.report(summary(untold, reason));
    }
    this.quiet.clear();
  }

  private tell(reason: DropReason): void {
    const quiet = this.quiet.get(reason);
    if (quiet === undefined) return;
    if (quiet.untold === 0) {
      clearInterval(quiet.timer);
      this.quiet.delete(reason);
      return;
    }
    const { untold } = quiet;
    quiet.untold = 0;
    this.report(summary(untold, reason));
  }
}

function summary(count: number, reason: DropReason): string {
  return `${count} more ${count === 1 ? 'connection' : 'connections'} closed: ${reason}`;
}
