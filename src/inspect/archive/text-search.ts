/**
 * Finds the records that hold a text, for questions that streams and positions do not answer: who
 * ever bore a name, who stood on a snapshot. Where an index says that a segment has none, it is not
 * read; of the others the bytes are searched for the text as it stands in JSON, and only records
 * that hold it are decoded: as fast as the disk.
 */
import type { Disk } from '../../base/ports.js';
import { snapshotId, type SnapshotId } from '../../base/units.js';
import { decodeIfUsable, isIntact } from '../../log/format/codec.js';
import { withFile } from '../../log/files.js';
import { walkHeads, type HeadVisitor } from '../../log/read/heads.js';
import { failAtDamage } from '../../log/index/index-files.js';
import { IndexUnusable } from '../../log/index/index-head.js';
import type { IndexedLog, PositionRange, WithNext } from '../../log/index/indexed-log.js';
import type { LogRecord } from '../../log/types.js';
import { idOfStream } from '../../machines/events/streams.js';
import { fitOfRecord, isLongEnough, type Fit } from '../events/event-names.js';
import { childText, snapshotTexts, textForPrefix } from './indexed-texts.js';
import { eventOf, parentOf } from './subject.js';

interface Search {
  /** Of these, a segment must have one, as far as its index tells. */
  readonly texts: readonly string[];
  /** What the bytes of a record must hold. */
  readonly needle: Buffer;
  readonly isWanted: (record: LogRecord) => boolean;
  /** Segments without any of it are not read. */
  readonly range?: PositionRange;
}

/**
 * Snapshots that ever had this name, oldest first; where there is none, those with a name that
 * begins so. Not both at once: names that begin alike may be in every segment.
 */
export async function findText(
  disk: Disk,
  log: IndexedLog,
  text: string,
): Promise<readonly SnapshotId[]> {
  const needle = Buffer.from(JSON.stringify(text).slice(1, -1), 'utf8');
  const search = (fit: Fit, indexed: string) =>
    searchLog(disk, log, {
      texts: [indexed],
      needle,
      isWanted: (record) => fitOfRecord(record, text) === fit,
    });
  const found = await search('whole', text);
  if (found.length > 0 || !isLongEnough(text)) return found;
  return search('prefix', textForPrefix(text));
}

/** Snapshots that ever stood on this one, oldest first. `range` has all of its life. */
export function findChildren(
  disk: Disk,
  log: IndexedLog,
  parent: SnapshotId,
  range: PositionRange,
): Promise<readonly SnapshotId[]> {
  return searchLog(disk, log, {
    texts: [childText(parent)],
    needle: Buffer.from(`"parent":{"id":${parent},`),
    isWanted: (record) => parentOf(eventOf(record))?.id === parent,
    range,
  });
}

/** The snapshots whose records are wanted. */
async function searchLog(
  disk: Disk,
  log: IndexedLog,
  search: Search,
): Promise<readonly SnapshotId[]> {
  const found = new Set<SnapshotId>();
  const segments = await log.segmentsWith(search.texts, snapshotTexts.version, search.range);
  for (const { segment, next, stretches } of segments) {
    if (stretches === null || next === null) {
      const held = next === null ? await log.newestHolding(segment, search.needle) : null;
      if (held === null) await searchSegment(disk, { segment, next }, search, found);
      else for (const record of held) takeIfWanted(record, search, (id) => found.add(id));
      continue;
    }
    await log.within(segment, next, async (open) => {
      for (const stretch of stretches) {
        const hits = new Hits(search);
        await open.walkStretch(stretch, search.needle, hits.visitor);
        if (hits.isUnsound) throw new IndexUnusable('a record fails its checksum');
        hits.addTo(found);
      }
    });
  }
  return [...found].sort((one, other) => one - other).map(snapshotId);
}

function takeIfWanted(
  record: LogRecord,
  { isWanted }: Search,
  take: (id: SnapshotId) => void,
): void {
  const id = idOfStream(record.stream);
  if (id !== null && isWanted(record)) take(id);
}

async function searchSegment(
  disk: Disk,
  { segment, next }: WithNext,
  search: Search,
  found: Set<SnapshotId>,
): Promise<void> {
  await withFile(disk, segment.path, 'read', async (file) => {
    const hits = new Hits(search);
    const end = await walkHeads(file, segment, hits.visitor, { checks: next === null });
    if (hits.isUnsound || (next !== null && end.position !== next.header.firstPosition)) {
      await failAtDamage(file, segment, next);
    }
    hits.addTo(found, end.position);
  });
}

/** Records that are wanted, found by the bytes that they must hold. */
class Hits {
  /** A record with the needle is not what was written. */
  isUnsound = false;
  readonly #search: Search;
  readonly #hits: { readonly id: SnapshotId; readonly position: number }[] = [];
  /** Where the bytes that were searched begin in the file, and the next place with the needle. */
  #searched = -1;
  #hit = -1;

  constructor(search: Search) {
    this.#search = search;
  }

  readonly visitor: HeadVisitor = (bytes, at, offset, padded) => {
    const base = offset - at;
    if (base !== this.#searched || (this.#hit !== -1 && this.#hit < at)) {
      this.#hit = bytes.indexOf(this.#search.needle, at);
      this.#searched = base;
    }
    if (this.#hit === -1 || this.#hit >= at + padded) return true;
    const record = isIntact(bytes, at, padded) ? decodeIfUsable(bytes, at) : null;
    if (record === null) {
      this.isUnsound = true;
      return false;
    }
    takeIfWanted(record, this.#search, (id) => {
      this.#hits.push({ id, position: record.position });
    });
    return true;
  };

  /** @param end the first position that does not count */
  addTo(found: Set<SnapshotId>, end = Infinity): void {
    for (const { id, position } of this.#hits) if (position < end) found.add(id);
  }
}
