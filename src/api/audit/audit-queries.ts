/**
 * The questions of an auditor that need much of the log read, or much replayed. They are answered
 * by an archive, wherever it runs (on a thread in the daemon, see audit-thread.ts), and only from
 * what is durable: an archive of files sees what is written, which may be more.
 */
import { position, type Position, type SnapshotId, type UnixNanos } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { fitOfRecord } from '../../inspect/events/event-names.js';
import { streamOf, idOfStream } from '../../machines/events/streams.js';

/** All snapshots at a moment, as text: what a client makes a forest of. */
export interface StateText {
  readonly position: Position;
  readonly time: UnixNanos | null;
  readonly nextId: number;
  readonly preallocated: readonly number[];
  readonly snapshots: number;
  /** A JSON line for each, ended by a newline. Shared memory: it crosses a thread uncopied. */
  readonly lines: Uint8Array;
}

/** `durable` is the end of what may be told. Each gives up waiting with the signal. */
export interface SlowQuestions {
  stateAt(at: Position, signal: AbortSignal): Promise<StateText>;
  positionAt(time: UnixNanos, durable: Position, signal: AbortSignal): Promise<Position>;
  find(text: string, durable: Position, signal: AbortSignal): Promise<readonly SnapshotId[]>;
}

/** `at` must be durable itself. */
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
  const doubtful = new Set<SnapshotId>();
  for await (const batch of archive.read({ from: durable })) {
    for (const record of batch) {
      const id = idOfStream(record.stream);
      if (id !== null) doubtful.add(id);
    }
  }
  const sure: SnapshotId[] = [];
  for (const id of found) {
    if (!doubtful.has(id) || (await boreText(archive, id, text, durable))) sure.push(id);
  }
  return sure;
}

async function boreText(
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

/** Answered where the archive is, in the caller's own thread. */
export function questionsTo(archive: Archive): SlowQuestions {
  return {
    stateAt: (at) => stateTextAt(archive, at),
    positionAt: (time, durable) => durablePositionAt(archive, time, durable),
    find: (text, durable) => durableFind(archive, text, durable),
  };
}
