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
import { LogCursor } from '../../log/read/cursor.js';
import { Replay } from './replay.js';

export interface ReplayedRoot {
  readonly replay: Replay;
  /** The checkpoint that it began with; null if the whole log was read. */
  readonly checkpoint: Position | null;
  /** Skipped checkpoints, each with the reason. */
  readonly ignored: readonly string[];
  /** Behind the last record that was read. Before the checkpoint where the log ends before it. */
  readonly readTo: Position;
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
  const checkpoint = begun?.position ?? null;
  const end = upTo ?? Infinity;
  const cursor = new LogCursor(disk, root, { from: replay.position });
  let damage: LogDamaged | null = null;
  try {
    for (let batch = await cursor.next(); batch !== null; batch = await cursor.next()) {
      for (const record of batch) if (record.position < end) replay.apply(record);
      if ((cursor.position ?? 0) >= end) break;
    }
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) {
      await cursor.close();
      throw thrown;
    }
    damage = thrown;
  }
  const readTo = position(Math.min(cursor.position ?? 0, end));
  await cursor.close();
  return { replay, checkpoint, ignored, readTo, damage };
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
