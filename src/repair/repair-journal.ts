/**
 * The second half of a repair, which must not stop half-way: files are exchanged, then the new
 * identity is written. Before the first exchange the whole list stands in `identity.json`, where
 * it keeps every start away; whoever repairs next finds it there and goes on. Each exchange is
 * done only where it is not done yet.
 */
import * as z from 'zod';
import { errnoOf } from '../base/errors.js';
import type { Disk } from '../base/ports.js';
import { identityPath, logDirectory, NO_FILE, readWhole, replaceDurably } from '../log/files.js';
import { parseIdentity, writeIdentity } from '../log/root/identity.js';

/** How a segment is called in the quarantine until it gets its place. */
export const STAGED = '.next';

const journalSchema = z.object({
  repair: z.object({
    version: z.literal(1),
    quarantine: z.string().regex(/^quarantine-[0-9-]+$/),
    /** Taken out of `log/` into the quarantine. */
    takenOut: z.array(z.string()),
    renamed: z.array(z.object({ from: z.string(), to: z.string() })),
    /** Segments that stand in the quarantine and belong into `log/`. */
    published: z.array(z.string()),
    /** In the form of any release that may have begun the repair. */
    identity: z.unknown().transform((fields) => parseIdentity('', fields)),
  }),
});

export type RepairJournal = z.output<typeof journalSchema>['repair'];

/**
 * The journal of a repair that was begun and not finished; null when there is none.
 *
 * Fails with a HostFault when that cannot be read: a repair that knew nothing of it would begin anew.
 */
export async function readJournal(disk: Disk, root: string): Promise<RepairJournal | null> {
  let bytes: Buffer | null;
  try {
    bytes = await readWhole(disk, identityPath(root), 64 * 1024 * 1024);
  } catch (thrown) {
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    // A directory of that name, for example: no journal of ours.
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

/** Carries a journal out, from wherever it stopped. Assumes the caller holds the lock. */
export async function finishJournal(
  disk: Disk,
  root: string,
  journal: RepairJournal,
): Promise<void> {
  const log = logDirectory(root);
  const quarantine = `${log}/${journal.quarantine}`;
  const exchange = new Exchange(disk);
  for (const name of journal.takenOut) {
    await exchange.move(log, name, quarantine, name);
  }
  for (const { from, to } of journal.renamed) await exchange.move(log, from, log, to);
  // What was taken out must be safe under its new name before anything gets its old one.
  await disk.syncDirectory(quarantine);
  await disk.syncDirectory(log);
  for (const name of journal.published) {
    await exchange.move(quarantine, `${name}${STAGED}`, log, name);
  }
  await disk.syncDirectory(log);
  await disk.syncDirectory(quarantine);
  await writeIdentity(disk, root, journal.identity);
}

class Exchange {
  constructor(private readonly disk: Disk) {}

  /** Where the new name is taken, the move was made before: nothing is ever written over. */
  async move(from: string, name: string, to: string, newName: string): Promise<void> {
    if (!(await this.#has(from, name)) || (await this.#has(to, newName))) return;
    await this.disk.rename(`${from}/${name}`, `${to}/${newName}`);
  }

  /** By the list of names: a link to nothing has one too. */
  async #has(directory: string, name: string): Promise<boolean> {
    return (await this.disk.list(directory)).includes(name);
  }
}
