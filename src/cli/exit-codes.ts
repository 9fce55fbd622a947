/** What each exit code of `stratalog` means; scripts rely on them. */
import { InvariantBroken } from '../base/assert.js';
import { UsageError } from '../base/errors.js';
import { ExportInvalid } from '../inspect/export-lines.js';
import { LogDamaged, LogTooNew, RootLocked, RootRefused } from '../log/errors.js';
import { EventNotUnderstood } from '../machines/streams.js';

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** Findings or damage exist. */
  findings: 3,
  /** Another process has the root open for writing. */
  locked: 4,
  /** The log was written by a newer release. */
  tooNew: 5,
  /** A fault of this program (EX_SOFTWARE, sysexits.h). */
  broken: 70,
} as const;

export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof UsageError) return EXIT.usage;
  if (thrown instanceof LogDamaged || thrown instanceof ExportInvalid) return EXIT.findings;
  // A file of ours that cannot be understood: nobody mends it by trying again.
  if (thrown instanceof RootRefused && thrown.reason === 'identity-damaged') return EXIT.findings;
  if (thrown instanceof RootLocked) return EXIT.locked;
  if (thrown instanceof LogTooNew) return EXIT.tooNew;
  if (thrown instanceof EventNotUnderstood) return thrown.isNewer ? EXIT.tooNew : EXIT.findings;
  if (thrown instanceof InvariantBroken) return EXIT.broken;
  return EXIT.failed;
}
