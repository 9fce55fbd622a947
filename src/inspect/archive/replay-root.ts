/**
 * Replays the log of a root: the newest usable checkpoint, then the records after it. Read-only and
 * without a lock, so it works while a daemon runs and on a copied root.
 */
import { reasonOf } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { position, type Position } from '../../base/units.js';
import { readCheckpoint } from '../../log/checkpoint/checkpoint.js';
import { LogDamaged } from '../../log/errors.js';
import { listLog, logDirectory } from '../../log/files.js';
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
  const ignored: string[] = [];
  const begun = await fromCheckpoint(disk, root, upTo, ignored);
  const replay = begun?.replay ?? new Replay();
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

async function fromCheckpoint(
  disk: Disk,
  root: string,
  upTo: Position | undefined,
  ignored: string[],
): Promise<{ readonly replay: Replay; readonly position: Position } | null> {
  const identity = await readIdentityIfSound(disk, root);
  const { checkpoints } = await listLog(disk, root);
  for (const { name, position: at } of checkpoints.toReversed()) {
    if (upTo !== undefined && at > upTo) continue;
    const path = `${logDirectory(root)}/${name}`;
    const checked = await readCheckpoint(disk, path, identity?.uuid ?? '');
    if (checked.kind === 'unusable') {
      ignored.push(`${name}: ${checked.reason}`);
      continue;
    }
    try {
      const replay = await Replay.restore(checked.text);
      return { replay, position: position(at) };
    } catch (thrown) {
      ignored.push(`${name}: ${reasonOf(thrown)}`);
    }
  }
  return null;
}
