/**
 * States that rest, as the lines of a checkpoint: one buffer of text and indexes of numbers over
 * it. A start with a hundred thousand snapshots reads the bytes and parses none of them; a state
 * becomes an object when it is requested. Immutable but for one bit a row, which says that
 * the row's snapshot has been taken out.
 */
import { snapshotId, type SnapshotId, type SnapshotName } from '../../base/units.js';
import type { Status } from '../transition-table.js';
import type { SnapshotState } from '../fold.js';
import { LineReader, malformed, type Span } from './line-reader.js';
import { decodeState } from './state-json.js';

const NEWLINE = 0x0a;
const CLOSING_BRACE = 0x7d;

/** Some milliseconds of work. */
const ROWS_AT_ONCE = 4096;

/** Statuses without an effect, and without anything to do after a crash. */
const RESTING: ReadonlySet<Status> = new Set(['active', 'view', 'committed.available']);

/** Whose line says all that is looked up: the one name they hold, and the parent they stand on. */
const INDEXED: ReadonlySet<Status> = new Set([...RESTING, 'committed.unavailable']);

export class PackedStates {
  /** How many rows have not been taken out. */
  live: number;
  readonly rows: number;
  /**
   * Rows that are in none of the indexes, and are counted as no parent's children: a snapshot being
   * removed holds no name, a commit in progress holds two, and one with an id mapping is looked up
   * by its maps. The forest that is restored from this makes states of them.
   */
  readonly unindexed: number[] = [];
  readonly #text: Buffer;
  /** Offset of each row's line; one more for the end. */
  readonly #offsets: Float64Array;
  readonly #ids: Float64Array;
  readonly #taken: Uint8Array;
  readonly #atRest: Uint8Array;
  readonly #children: Int32Array;
  readonly #names: TextIndex;
  readonly #labels: TextIndex;
  readonly #refs: TextIndex;
  readonly #statusCounts = new Map<Status, number>();

  private constructor(text: Buffer, rows: number) {
    this.#text = text;
    this.rows = this.live = rows;
    this.#offsets = new Float64Array(rows + 1);
    this.#ids = new Float64Array(rows);
    this.#taken = new Uint8Array(rows);
    this.#atRest = new Uint8Array(rows);
    this.#children = new Int32Array(rows);
    this.#names = new TextIndex(text, rows);
    this.#labels = new TextIndex(text, rows);
    this.#refs = new TextIndex(text, rows);
  }

  static none(): PackedStates {
    return new PackedStates(Buffer.alloc(0), 0);
  }

  /**
   * Indexes lines, each ended by a newline, with rising ids. Lets others run now and then. The
   * text is kept, and must not change.
   *
   * Fails  TypeError when a line does not begin as `encodeState` writes it
   */
  static async index(text: Buffer, rows: number): Promise<PackedStates> {
    const packed = new PackedStates(text, rows);
    const parents = new Float64Array(rows);
    let at = 0;
    for (let row = 0; row < rows; row += 1) {
      packed.#offsets[row] = at;
      at = packed.#index(row, at, parents);
      if (row % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await new Promise(setImmediate);
    }
    packed.#offsets[rows] = at;
    if (at !== text.length) throw malformed('there is text behind the last line');
    for (const parent of parents) {
      const row = parent === 0 ? -1 : packed.rowOf(snapshotId(parent));
      if (row !== -1) packed.#children[row] = (packed.#children[row] ?? 0) + 1;
    }
    return packed;
  }

  /** How many rows stand in each status, the taken ones included. */
  get statusCounts(): ReadonlyMap<Status, number> {
    return this.#statusCounts;
  }

  /** How many of the rows stand on this one, the taken ones included. */
  childrenOf(row: number): number {
    return this.#children[row] ?? 0;
  }

  idOf(row: number): SnapshotId {
    return snapshotId(this.#ids[row] ?? 0);
  }

  /** The greatest id; 0 without rows. */
  get lastId(): number {
    return this.#ids[this.rows - 1] ?? 0;
  }

  /** The row of an id, taken or not; -1 when there is none. */
  rowOf(id: SnapshotId): number {
    let low = 0;
    let high = this.rows - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.#ids[middle] ?? 0;
      if (found === id) return middle;
      if (found < id) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  isTaken(row: number): boolean {
    return this.#taken[row] === 1;
  }

  /** From now on the snapshot lives elsewhere, or nowhere. */
  take(row: number): void {
    if (this.#taken[row] === 1) return;
    this.#taken[row] = 1;
    this.live -= 1;
  }

  /** Whether a row that is not taken bears the name. */
  holds(name: SnapshotName): boolean {
    return this.live > 0 && this.named(name).length > 0;
  }

  /** Rows that are not taken and bear the name: one at most. */
  named(name: SnapshotName): readonly number[] {
    return this.#rowsIn(this.#names, name);
  }

  /** Rows that are not taken, by the value of the target label. */
  labelled(ref: string): readonly number[] {
    return this.#rowsIn(this.#labels, ref);
  }

  /** Rows that are not taken, by what a remote layer stands for. */
  remote(ref: string): readonly number[] {
    return this.#rowsIn(this.#refs, ref);
  }

  /** The row's state, a new object each time. */
  state(row: number): SnapshotState {
    return decodeState(this.line(row));
  }

  /** The row as it stands in the checkpoint, without its newline. */
  line(row: number): string {
    return this.bytes(row).toString('utf8');
  }

  /** The same, as bytes that are shared with this object. */
  bytes(row: number): Buffer {
    return this.#text.subarray(this.#offsets[row], (this.#offsets[row + 1] ?? 0) - 1);
  }

  /** Whether nothing is to be done about a row: not in flight, not unavailable, not remote. */
  isAtRest(row: number): boolean {
    return this.#atRest[row] === 1;
  }

  /** Which rows are taken now, as one value that stays as it is. */
  takenNow(): Uint8Array {
    return this.#taken.slice();
  }

  #rowsIn(index: TextIndex, text: string): readonly number[] {
    if (this.live === 0) return [];
    return index.rowsOf(text).filter((row) => this.#taken[row] === 0);
  }

  /** Reads the fixed beginning of a line; answers where the next line begins. */
  #index(row: number, start: number, parents: Float64Array): number {
    const line = new LineReader(this.#text, start);
    const id = line.number();
    if (id <= (this.#ids[row - 1] ?? 0)) throw malformed('the ids of its states do not rise');
    this.#ids[row] = id;
    const status = line.text();
    if (status === null) throw malformed('a state without a status');
    // The set of statuses is checked when the line is parsed.
    const name = this.#text.toString('latin1', status.start, status.end) as Status;
    this.#statusCounts.set(name, (this.#statusCounts.get(name) ?? 0) + 1);
    this.#atRest[row] = RESTING.has(name) ? 1 : 0;
    const parent = line.number();
    const texts = [line.text(), line.text(), line.text()] as const;
    if (texts[2] !== null) this.#atRest[row] = 0;
    const end = this.#text.indexOf(NEWLINE, line.at);
    if (end === -1) throw malformed('a line without an end');
    if (INDEXED.has(name) && !hasIdMapping(this.#text, end)) {
      parents[row] = parent;
      this.#names.add(row, texts[0]);
      this.#labels.add(row, texts[1]);
      this.#refs.add(row, texts[2]);
    } else this.unindexed.push(row);
    return end + 1;
  }
}

/** Whether a line ends with an object within the last one: `…,"idMapping":{…}}]`. */
function hasIdMapping(text: Buffer, end: number): boolean {
  return text[end - 3] === CLOSING_BRACE;
}

/** Rows by a text of theirs. Texts are compared as they stand in JSON: one text has one form. */
class TextIndex {
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;

  constructor(
    private readonly bytes: Buffer,
    rows: number,
  ) {
    this.#heads = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(rows, 1) * 2)));
    this.#next = new Int32Array(rows);
    this.#starts = new Float64Array(rows);
    this.#ends = new Float64Array(rows);
  }

  add(row: number, span: Span | null): void {
    if (span === null) return;
    this.#starts[row] = span.start;
    this.#ends[row] = span.end;
    const slot = hashOf(this.bytes, span.start, span.end) & (this.#heads.length - 1);
    this.#next[row] = this.#heads[slot] ?? 0;
    this.#heads[slot] = row + 1;
  }

  rowsOf(text: string): number[] {
    const quoted = Buffer.from(JSON.stringify(text), 'utf8');
    const end = quoted.length - 1;
    const rows: number[] = [];
    let entry = this.#heads[hashOf(quoted, 1, end) & (this.#heads.length - 1)] ?? 0;
    for (; entry !== 0; entry = this.#next[entry - 1] ?? 0) {
      const from = this.#starts[entry - 1] ?? 0;
      const to = this.#ends[entry - 1] ?? 0;
      if (to - from === end - 1 && this.bytes.compare(quoted, 1, end, from, to) === 0) {
        rows.push(entry - 1);
      }
    }
    return rows;
  }
}

/** FNV-1a. Clients choose names, so one chain can be made long; all others stay short. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = start; at < end; at += 1) {
    hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  }
  return hash ^ (hash >>> 15);
}
