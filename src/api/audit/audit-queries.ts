/**
 * Audit queries that read or replay much of the log. In the daemon they run on a worker thread
 * (audit-thread.ts). They return durable events only, although an archive of files can also read
 * records that are written but not yet durable.
 */
import { position, type Position, type SnapshotId, type UnixNanos } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { fitOfRecord } from '../../inspect/events/event-names.js';
import { streamOf, idOfStream } from '../../machines/events/streams.js';

/** All snapshots at a position, as text from which a client builds a forest. */
export interface StateText {
  readonly position: Position;
  readonly time: UnixNanos | null;
  readonly nextId: number;
  readonly preallocated: readonly number[];
  readonly snapshots: number;
  /** One JSON line per snapshot. In shared memory, so that it crosses threads without a copy. */
  readonly lines: Uint8Array;
}

/** Results never extend past `durable`. Each query stops waiting when the signal is aborted. */
export interface SlowQueries {
  stateAt(at: Position, signal: AbortSignal): Promise<StateText>;
  positionAt(time: UnixNanos, durable: Position, signal: AbortSignal): Promise<Position>;
  find(text: string, durable: Position, signal: AbortSignal): Promise<readonly SnapshotId[]>;
}

/** @param at must be durable */
async function stateTextAt(archive: Archive, at: Position): Promise<StateText> {
  const { time, forest } = await archive.stateAt(at);
  const pieces: Buffer[] = [];
  let snapshots = 0;
  let length = 0;
  for (const line of forest.cut().lines()) {
    const piece = Buffer.from(`${line}\n`);
    pieces.push(piece);
    length += piece.length;
    snapshots += 1;
  }
  const lines = new Uint8Array(new SharedArrayBuffer(length));
  let filled = 0;
  for (const piece of pieces) {
    lines.set(piece, filled);
    filled += piece.length;
  }
  const preallocated = [...forest.preallocated];
  return { position: at, time, nextId: forest.nextId, preallocated, snapshots, lines };
}

async function durablePositionAt(
  archive: Archive,
  time: UnixNanos,
  durable: Position,
): Promise<Position> {
  const found = await archive.positionAt(time);
  if (found <= durable) return found;
  for await (const batch of archive.read({ to: durable, reverse: true })) {
    for (const record of batch) if (record.time <= time) return position(record.position + 1);
  }
  return (await archive.bounds()).first;
}

async function durableFind(
  archive: Archive,
  text: string,
  durable: Position,
): Promise<readonly SnapshotId[]> {
  const found = await archive.find(text);
  // Snapshots with events that are not durable: the match may be in one of these.
  const unchecked = new Set<SnapshotId>();
  for await (const batch of archive.read({ from: durable })) {
    for (const record of batch) {
      const id = idOfStream(record.stream);
      if (id !== null) unchecked.add(id);
    }
  }
  const matching: SnapshotId[] = [];
  for (const id of found) {
    if (!unchecked.has(id) || (await matchesDurably(archive, id, text, durable))) matching.push(id);
  }
  return matching;
}

async function matchesDurably(
  archive: Archive,
  id: SnapshotId,
  text: string,
  durable: Position,
): Promise<boolean> {
  for await (const batch of archive.read({ stream: streamOf(id), to: durable })) {
    if (batch.some((record) => fitOfRecord(record, text) !== null)) return true;
  }
  return false;
}

/** Runs the queries in the caller's thread. */
export function queriesOn(archive: Archive): SlowQueries {
  return {
    stateAt: (at) => stateTextAt(archive, at),
    positionAt: (time, durable) => durablePositionAt(archive, time, durable),
    find: (text, durable) => durableFind(archive, text, durable),
  };
}
