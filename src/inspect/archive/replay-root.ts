/**
 * Replays the log of a root: the newest usable checkpoint, then the records after it. Read-only and
 * without a lock, so it works while a daemon runs and on a copied root.
 */
import type { Disk } from '../../base/ports.js';
import { position, type Position } from '../../base/units.js';
import { readCheckpoint } from '../../log/checkpoint/checkpoint.js';
import { newestCheckpoint, type CheckpointRange } from '../../log/checkpoint/newest-checkpoint.js';
import { LogDamaged } from '../../log/errors.js';
import { listLog } from '../../log/files.js';
import { readIdentityIfSound } from '../../log/root/identity.js';
import { readLogBatches } from '../../log/reader.js';
import { Replay } from './replay.js';

export interface ReplayedRoot {
  readonly replay: Replay;
  /** The checkpoint that it began with; null if the whole log was read. */
  readonly checkpoint: Position | null;
  /** Skipped checkpoints, each with the reason. */
  readonly ignored: readonly string[];
}

/**
 * The projection after all records before `upTo` (default: the end of the log).
 *
 * Fails  RootRefused, LogDamaged, LogTooNew, EventNotUnderstood, InvariantBroken, HostFault
 */
export async function replayRoot(disk: Disk, root: string, upTo?: Position): Promise<ReplayedRoot> {
  const { damage, ...replayed } = await replayToDamage(disk, root, upTo);
  if (damage !== null) throw damage;
  return replayed;
}

/** Like `replayRoot`, but returns damage together with the state before it. */
export async function replayToDamage(
  disk: Disk,
  root: string,
  upTo?: Position,
): Promise<ReplayedRoot & { readonly damage: LogDamaged | null }> {
  const { segments } = await listLog(disk, root);
  const first = segments[0]?.position ?? 0;
  const { begun, ignored } = await restoreNewest(disk, root, { first, upTo });
  const replay = begun ?? new Replay();
  const from = begun?.position ?? position(0);
  const range = upTo === undefined ? { from } : { from, to: upTo };
  const replayed = { replay, checkpoint: begun?.position ?? null, ignored };
  try {
    for await (const batch of readLogBatches({ root, disk, ...range })) {
      for (const record of batch) replay.apply(record);
    }
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    return { ...replayed, damage: thrown };
  }
  return { ...replayed, damage: null };
}

/** A replay that begins with the newest usable checkpoint in a range; null if there is none. */
export async function restoreNewest(
  disk: Disk,
  root: string,
  range: CheckpointRange,
): Promise<{ readonly begun: Replay | null; readonly ignored: readonly string[] }> {
  const identity = await readIdentityIfSound(disk, root);
  const { chosen, ignored } = await newestCheckpoint({
    ...{ disk, root, uuid: identity?.uuid ?? '', range, read: readCheckpoint },
    take: ({ text, envelope }) => Replay.restore(text, position(envelope.position)),
  });
  return { begun: chosen, ignored: ignored.map(({ name, reason }) => `${name}: ${reason}`) };
}
