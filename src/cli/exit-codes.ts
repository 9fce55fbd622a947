/** The exit codes of `stratalog`. Scripts depend on them. */
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
  // As a shell reports a process killed by SIGPIPE.
  outputClosed: 141,
} as const;

/** For the man page and the command reference. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'success, or nothing to do',
  failed: 'the command failed or could not write its result; `health`: not serving',
  usage: 'invalid usage or invalid configuration',
  findings: 'findings or damage exist',
  locked: 'another process has the root open for writing',
  tooNew: 'the log was written by a newer release',
  // EX_SOFTWARE of sysexits.h.
  broken: 'internal error; please report it',
  outputClosed: 'the reader of the output closed the pipe, as `| head` does',
};

export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof UsageError) return EXIT.usage;
  if (thrown instanceof LogDamaged || thrown instanceof ExportInvalid) return EXIT.findings;
  // A damaged identity file does not recover on retry.
  if (thrown instanceof RootRefused && thrown.reason === 'identity-damaged') return EXIT.findings;
  if (thrown instanceof RootLocked) return EXIT.locked;
  if (thrown instanceof LogTooNew) return EXIT.tooNew;
  if (thrown instanceof EventNotUnderstood) return thrown.isNewer ? EXIT.tooNew : EXIT.findings;
  if (thrown instanceof InvariantBroken) return EXIT.broken;
  return EXIT.failed;
}
