/**
 * The second half of a repair, which must not stop half-way: move files, then write the new
 * identity. The journal is in `identity.json` before the first move, so no daemon starts until the
 * next repair has finished it. Each move is idempotent.
 */
import * as z from 'zod';
import { errnoOf } from '../base/errors.js';
import type { Disk } from '../base/ports.js';
import { identityPath, logDirectory, NO_FILE, readWhole, replaceDurably } from '../log/files.js';
import { parseIdentity, writeIdentity } from '../log/root/identity.js';

/** Suffix of a new segment in the quarantine until it is published. */
export const STAGED = '.next';

const journalSchema = z.object({
  repair: z.object({
    version: z.literal(1),
    quarantine: z.string().regex(/^quarantine-[0-9-]+$/),
    /** Moved from `log/` to the quarantine. */
    takenOut: z.array(z.string()),
    renamed: z.array(z.object({ from: z.string(), to: z.string() })),
    /** Moved from the quarantine to `log/`. */
    published: z.array(z.string()),
    /** In the format of the release that began the repair. */
    identity: z.unknown().transform((fields) => parseIdentity('', fields)),
  }),
});

export type RepairJournal = z.output<typeof journalSchema>['repair'];

/**
 * The journal of an unfinished repair; null if there is none.
 *
 * Fails with a HostFault if it cannot be read: a repair must not begin over an unfinished one.
 */
export async function readJournal(disk: Disk, root: string): Promise<RepairJournal | null> {
  let bytes: Buffer | null;
  try {
    bytes = await readWhole(disk, identityPath(root), 64 * 1024 * 1024);
  } catch (thrown) {
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    return null;
  }
  try {
    const parsed = journalSchema.safeParse(JSON.parse(bytes?.toString('utf8') ?? 'null'));
    return parsed.success ? parsed.data.repair : null;
  } catch {
    return null;
  }
}

export async function writeJournal(
  disk: Disk,
  root: string,
  journal: RepairJournal,
): Promise<void> {
  const identity = { ...journal.identity, created: journal.identity.created.toString() };
  const text = JSON.stringify({ repair: { ...journal, identity } }, null, 2);
  await replaceDurably(disk, root, 'identity.json', Buffer.from(`${text}\n`));
}

/** Executes the journal from where it stopped. Assumes the caller holds the lock. */
export async function finishJournal(
  disk: Disk,
  root: string,
  journal: RepairJournal,
): Promise<void> {
  const log = logDirectory(root);
  const quarantine = `${log}/${journal.quarantine}`;
  const mover = new Mover(disk);
  for (const name of journal.takenOut) {
    await mover.move(log, name, quarantine, name);
  }
  for (const { from, to } of journal.renamed) await mover.move(log, from, log, to);
  // Quarantined files must be durable under their new names before their old names are reused.
  await disk.syncDirectory(quarantine);
  await disk.syncDirectory(log);
  for (const name of journal.published) {
    await mover.move(quarantine, `${name}${STAGED}`, log, name);
  }
  await disk.syncDirectory(log);
  await disk.syncDirectory(quarantine);
  await writeIdentity(disk, root, journal.identity);
}

class Mover {
  constructor(private readonly disk: Disk) {}

  /** Never overwrites: an existing target means that the move is already done. */
  async move(from: string, name: string, to: string, newName: string): Promise<void> {
    if (!(await this.#has(from, name)) || (await this.#has(to, newName))) return;
    await this.disk.rename(`${from}/${name}`, `${to}/${newName}`);
  }

  /** Lists names instead of calling stat, to find dangling links too. */
  async #has(directory: string, name: string): Promise<boolean> {
    return (await this.disk.list(directory)).includes(name);
  }
}
