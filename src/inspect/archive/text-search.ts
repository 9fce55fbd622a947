/**
 * Finds records that contain a text, for queries that streams and positions cannot answer: which
 * snapshots ever had a name, or a parent. Skips segments whose index excludes the text. In the
 * others it searches the raw bytes for the JSON-encoded text and decodes only the records that
 * contain it, so it is as fast as the disk.
 */
import type { Disk } from '../../base/ports.js';
import { snapshotId, type SnapshotId } from '../../base/units.js';
import { decodeIfUsable } from '../../log/format/codec.js';
import { isIntact } from '../../log/format/record-step.js';
import { withFile } from '../../log/files.js';
import { walkHeads, type HeadVisitor } from '../../log/read/heads.js';
import { failAtDamage } from '../../log/read/log-end.js';
import { startOf } from '../../log/read/scan.js';
import { IndexUnusable } from '../../log/index/index-head.js';
import type { IndexedLog, PositionRange, WithNext } from '../../log/index/indexed-log.js';
import type { LogRecord } from '../../log/types.js';
import { idOfStream } from '../../machines/events/streams.js';
import { fitOfRecord, isLongEnough, type Fit } from '../events/event-names.js';
import { childText, snapshotTexts, textForPrefix } from './indexed-texts.js';
import { eventOf, parentOf } from './subject.js';

interface Search {
  /** A segment is searched if its index has one of these. */
  readonly texts: readonly string[];
  /** Bytes that a matching record must contain. */
  readonly needle: Buffer;
  readonly isMatch: (record: LogRecord) => boolean;
  /** Segments outside of it are not read. */
  readonly range?: PositionRange;
}

/**
 * Snapshots that ever had this name, oldest first; if there is none, those with a name that begins
 * with it. Two searches, because a common prefix may be in every segment.
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
      isMatch: (record) => fitOfRecord(record, text) === fit,
    });
  const found = await search('whole', text);
  if (found.length > 0 || !isLongEnough(text)) return found;
  return search('prefix', textForPrefix(text));
}

/** All snapshots that ever had this parent, oldest first. `range` must cover its whole life. */
export function findChildren(
  disk: Disk,
  log: IndexedLog,
  parent: SnapshotId,
  range: PositionRange,
): Promise<readonly SnapshotId[]> {
  return searchLog(disk, log, {
    texts: [childText(parent)],
    needle: Buffer.from(`"parent":{"id":${parent},`),
    isMatch: (record) => parentOf(eventOf(record))?.id === parent,
    range,
  });
}

/** The snapshots with matching records. */
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
      else for (const record of held) takeIfMatch(record, search, (id) => found.add(id));
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

function takeIfMatch(record: LogRecord, { isMatch }: Search, take: (id: SnapshotId) => void): void {
  const id = idOfStream(record.stream);
  if (id !== null && isMatch(record)) take(id);
}

async function searchSegment(
  disk: Disk,
  { segment, next }: WithNext,
  search: Search,
  found: Set<SnapshotId>,
): Promise<void> {
  await withFile(disk, segment.path, 'read', async (file) => {
    const hits = new Hits(search);
    const end = await walkHeads(file, startOf(segment), hits.visitor, { checks: next === null });
    if (hits.isUnsound || (next !== null && end.position !== next.header.firstPosition)) {
      await failAtDamage(file, segment, next);
    }
    hits.addTo(found, end.position);
  });
}

/** Collects matching records, found by the needle. */
class Hits {
  /** A record with the needle fails its checksum. */
  isUnsound = false;
  readonly #search: Search;
  readonly #hits: { readonly id: SnapshotId; readonly position: number }[] = [];
  /** File offset of the searched buffer, and offset of the next needle in it. */
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
    takeIfMatch(record, this.#search, (id) => {
      this.#hits.push({ id, position: record.position });
    });
    return true;
  };

  /** Adds the matches before the position `end`. */
  addTo(found: Set<SnapshotId>, end = Infinity): void {
    for (const { id, position } of this.#hits) if (position < end) found.add(id);
  }
}
