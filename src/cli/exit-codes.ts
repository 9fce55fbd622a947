/** What each exit code of `stratalog` means; scripts rely on them. */
import { InvariantBroken } from '../base/assert.js';
import { UsageError } from '../base/errors.js';
import { ExportInvalid } from '../export/invalid-export.js';
import { LogDamaged, LogTooNew, RootLocked, RootRefused } from '../log/errors.js';
import { EventNotUnderstood } from '../machines/events/event-not-understood.js';

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  findings: 3,
  locked: 4,
  tooNew: 5,
  broken: 70,
  // As a shell reports a process that SIGPIPE ended.
  outputClosed: 141,
} as const;

/** As the man page and the command reference tell it. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'fine, or nothing to do',
  failed: 'it failed, or could not write its result; `health`: not serving',
  usage: 'wrong usage, or a configuration with a mistake in it',
  findings: 'findings or damage exist',
  locked: 'another process has the root open for writing',
  tooNew: 'the log was written by a later release',
  // EX_SOFTWARE of sysexits.h.
  broken: 'a fault of this program; please report it',
  outputClosed: 'the reader of the result closed the pipe, as `| head` does',
};

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
