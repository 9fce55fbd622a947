/**
 * Gives each sealed segment its index, some time after it was sealed, one segment at a time and a
 * slice of it in one turn. It never delays an append. An index is optional, so nothing that
 * fails here is reported: queries read the segment instead.
 */
import type { Observable, Subscription } from 'rxjs';
import type { Clock, Disk } from '../../base/ports.js';
import { listLog, logDirectory, removeIfThere, withFile, type NamedAt } from '../files.js';
import { indexPath, makeIndex, readIndex, writeIndex } from '../index/index-files.js';
import { keepHouse } from './housekeeper.js';
import { readHeader } from '../format/segment-header.js';
import { IndexUnusable } from '../index/index-head.js';
import type { ListedSegment } from '../read/segment-list.js';
import type { IndexedTexts } from '../index/text-filter.js';

export interface IndexKeeperOptions {
  readonly disk: Disk;
  readonly root: string;
  readonly clock: Clock;
  readonly sealed: Observable<void>;
  /** For which an index can be queried. */
  readonly texts: IndexedTexts | null;
  /** Runs while no other task drops or renames files of the log. */
  readonly inTurn: (work: () => Promise<boolean>) => Promise<boolean>;
}

export class IndexKeeper {
  readonly #options: IndexKeeperOptions;
  readonly #housekeeping: Subscription;
  /** First positions of segments that have an index, or get none from this process. */
  readonly #done = new Set<number>();
  #isStopped = false;

  constructor(options: IndexKeeperOptions) {
    this.#options = options;
    const { sealed, clock, inTurn } = options;
    this.#housekeeping = keepHouse(sealed, clock, () =>
      inTurn(() => this.#next()).catch(() => false),
    );
  }

  /** What is under way ends soon, unfinished. */
  stop(): void {
    this.#isStopped = true;
    this.#housekeeping.unsubscribe();
  }

  /** Looks after segments until one was given an index; false when there is no more to do. */
  async #next(): Promise<boolean> {
    const { segments } = await listLog(this.#options.disk, this.#options.root);
    for (const [at, named] of segments.entries()) {
      const next = segments[at + 1];
      // The newest segment is written to.
      if (next === undefined || this.#isStopped) return false;
      if (this.#done.has(named.position)) continue;
      // Once, whatever comes of it.
      this.#done.add(named.position);
      // A segment that cannot be read does not stop the others.
      if (await this.#serve(named, next).catch(() => true)) return true;
    }
    return false;
  }

  /** Answers whether an index was written. */
  async #serve(named: NamedAt, nextNamed: NamedAt): Promise<boolean> {
    const { disk, root, texts } = this.#options;
    const segment = await this.#read(named);
    const next = await this.#read(nextNamed);
    if (segment === null || next === null) return false;
    try {
      const index = await readIndex(disk, root, segment, next);
      const isCurrent = texts === null || index?.head.textsVersion === texts.version;
      // An index with the texts of an earlier release is not searched by name.
      if (index !== null && isCurrent) return false;
    } catch (thrown) {
      if (!(thrown instanceof IndexUnusable)) throw thrown;
      await removeIfThere(disk, indexPath(root, named.position));
    }
    const isWanted = (): boolean => !this.#isStopped;
    const bytes = await withFile(disk, segment.path, 'read', (file) =>
      makeIndex(file, segment, next, { breathes: true, isWanted, texts }),
    );
    if (bytes === null) return false;
    await writeIndex(disk, root, named.position, bytes);
    return true;
  }

  async #read({ name, position }: NamedAt): Promise<ListedSegment | null> {
    const path = `${logDirectory(this.#options.root)}/${name}`;
    const reading = await withFile(this.#options.disk, path, 'read', readHeader);
    if (reading.kind !== 'valid') return null;
    return { name, namedPosition: position, path, header: reading.header };
  }
}
