/**
 * Drops the oldest segments once a checkpoint covers them. The header of the first segment that
 * stays holds the chain hash at the cut, so what is left still verifies.
 */
import { UsageError } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import type { UnixNanos } from '../../base/units.js';
import { examineCheckpoint } from '../checkpoint/checkpoint.js';
import { newestCheckpoint } from '../checkpoint/newest-checkpoint.js';
import { listLog, logDirectory, removeIfThere, withFile, type NamedAt } from '../files.js';
import { indexPath } from '../index/index-files.js';
import { readHeader } from '../format/segment-header.js';
import { SegmentAges } from './segment-age.js';
import type { RetiredAge } from '../types.js';

const CHECKPOINTS_KEPT = 2;
/** All checkpoints together never have more than this of the bytes of the segments. */
const HISTORY_SHARE = 1 / 4;

/**
 * Removes segments that lie wholly below `before`, oldest first, and answers their file names.
 * With `age`, only those that are old enough; a segment was last written to before the next began.
 *
 * Fails  UsageError when no sound checkpoint is at or above `before`: without it the log could
 *        not be started again
 */
export async function retireSegments(
  disk: Disk,
  root: string,
  uuid: string,
  before: number,
  age: RetiredAge | null = null,
): Promise<readonly string[]> {
  const { chosen: covered } = await newestCheckpoint({
    ...{ disk, root, uuid, range: { first: 0 }, read: examineCheckpoint },
    take: ({ envelope }) => envelope.position,
  });
  if (covered === null || covered < before) {
    throw new UsageError(
      `segments below position ${before} cannot be dropped: the newest sound checkpoint is ` +
        `${covered === null ? 'missing' : `of position ${covered}`}. Write a checkpoint first`,
    );
  }
  const { segments } = await listLog(disk, root);
  const endOf = async (index: number): Promise<UnixNanos | null> => {
    const next = segments[index + 1];
    return next === undefined ? null : begunAt(disk, root, next.name);
  };
  const ages = age && new SegmentAges(endOf, age.now);
  const dropped: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const { name } = segment;
    // A segment ends where the next begins; the newest is open and always stays.
    const next = segments[index + 1];
    if (next === undefined || next.position > before) break;
    if (age && ages && (await ages.latestWrite(index)) > age.writtenBefore) break;
    await disk.remove(`${logDirectory(root)}/${name}`);
    await removeIfThere(disk, indexPath(root, segment.position));
    // One at a time, so that a power cut never leaves a gap.
    await disk.syncDirectory(logDirectory(root));
    dropped.push(name);
  }
  await dropUselessCheckpoints(disk, root);
  return dropped;
}

/** As their headers have it, newest first, of segments that begin below a position. */
export async function* begunTimes(
  disk: Disk,
  root: string,
  below: number,
): AsyncGenerator<UnixNanos, void, undefined> {
  const { segments } = await listLog(disk, root);
  for (const { name, position } of segments.toReversed()) {
    if (position < below) yield begunAt(disk, root, name);
  }
}

async function begunAt(disk: Disk, root: string, name: string): Promise<UnixNanos> {
  const reading = await withFile(disk, `${logDirectory(root)}/${name}`, 'read', readHeader);
  if (reading.kind !== 'valid') throw new UsageError(`the header of ${name} is not sound`);
  return reading.header.created;
}

/** Startup replays everything after a checkpoint, so those records must still exist. */
async function dropUselessCheckpoints(disk: Disk, root: string): Promise<void> {
  const { segments, checkpoints } = await listLog(disk, root);
  const first = segments[0]?.position ?? 0;
  const useless = checkpoints.filter(({ position }) => position < first);
  for (const { name } of useless) await removeIfThere(disk, `${logDirectory(root)}/${name}`);
  if (useless.length > 0) await disk.syncDirectory(logDirectory(root));
}

/**
 * Keeps the newest two checkpoints up to a position that one was just written of: the second
 * serves when the first turns out to be damaged. What has a name above that is none of ours, and
 * must not count, or the one that was just written would go in its place.
 *
 * Of the older ones those are kept for questions about the past that `checkpointsToKeep` chooses.
 *
 * @param everyEvents 0 for none
 */
export async function dropOldCheckpoints(
  disk: Disk,
  root: string,
  newest: number,
  everyEvents: number,
): Promise<void> {
  const { checkpoints, segments } = await listLog(disk, root);
  const ours = checkpoints.filter(({ position }) => position <= newest);
  const old = ours.slice(0, -CHECKPOINTS_KEPT);
  const kept = new Set<number>();
  if (everyEvents > 0 && old.length > 0) {
    const recent = await sized(disk, root, ours.slice(-CHECKPOINTS_KEPT));
    const bytes = sum(await sized(disk, root, segments)) * HISTORY_SHARE - sum(recent);
    const chosen = checkpointsToKeep(await sized(disk, root, old), everyEvents, bytes);
    for (const { position } of chosen) kept.add(position);
  }
  const dropped = old.filter(({ position }) => !kept.has(position));
  for (const { name } of dropped) await removeIfThere(disk, `${logDirectory(root)}/${name}`);
  if (dropped.length > 0) await disk.syncDirectory(logDirectory(root));
}

export interface SizedCheckpoint {
  readonly position: number;
  readonly bytes: number;
}

/**
 * The first of each `everyEvents` positions, as long as all fit into `bytesMax` together; else
 * the first of twice as many, and so on. So one that was passed over once need not be there later.
 *
 * @param checkpoints by rising position
 */
export function checkpointsToKeep(
  checkpoints: readonly SizedCheckpoint[],
  everyEvents: number,
  bytesMax: number,
): readonly SizedCheckpoint[] {
  for (let every = everyEvents; ; every *= 2) {
    const chosen = checkpoints.filter(
      ({ position }, index) =>
        Math.floor(position / every) !==
        Math.floor((checkpoints[index - 1]?.position ?? -1) / every),
    );
    if (sum(chosen) <= bytesMax) return chosen;
    if (chosen.length <= 1) return [];
  }
}

const sum = (files: readonly { readonly bytes: number }[]): number =>
  files.reduce((total, { bytes }) => total + bytes, 0);

async function sized(
  disk: Disk,
  root: string,
  files: readonly NamedAt[],
): Promise<readonly SizedCheckpoint[]> {
  const found: SizedCheckpoint[] = [];
  for (const { name, position } of files) {
    const { size } = await disk.stat(`${logDirectory(root)}/${name}`);
    found.push({ position, bytes: size });
  }
  return found;
}
