/**
 * Checks a whole log and reports all findings. Unlike startup it does not stop at the first: after
 * damage it continues with the next whole record, so that the extent is known. Never writes, takes no
 * lock. While a writer runs, the unfinished end of the newest segment is reported as the torn tail
 * that a startup would cut.
 */
import { createHash } from 'node:crypto';
import { errnoOf } from '../../base/errors.js';
import type { Disk, DiskFile } from '../../base/ports.js';
import { formatTime, position, unixNanos, type UnixNanos } from '../../base/units.js';
import { examineCheckpoint } from '../checkpoint/checkpoint.js';
import { RootRefused } from '../errors.js';
import { listLog, logDirectory, NO_FILE, type NamedAt } from '../files.js';
import { SEVERITY, type LogFinding, type LogFindingKind, type VerifyItem } from './findings.js';
import { CHAIN_BYTES, RECORD, SEGMENT } from '../format/layout.js';
import { logMissing, readIdentity, type StoredIdentity } from '../root/identity.js';
import { judgeNewestEnd, type NewestEnd } from '../read/log-end.js';
import { placeAt } from '../read/place-at.js';
import { SegmentScan, startOf, type ScanPlace, type ScanStop } from '../read/scan.js';
import type { SegmentToCheck, SoundSegment } from './sealed-segment.js';
import { partsOf, listSegments, type Part, type SegmentList } from '../read/segment-list.js';
import { bytesAfter, describeLoss, type BytesAfter } from '../read/torn-tail.js';
import type { LogRecord } from '../types.js';
import { countStreams } from '../format/stream-versions.js';
import { PrefetchedCheck, moveStreams, queriesOf, type SegmentChecker } from './verify-ahead.js';
import { indexFindings, otherFiles, type TellFinding } from './other-files.js';
import { KnownSums, sumSegments, type SumEvents, type SummedSegments } from './verify-digests.js';

export interface VerifyLogOptions {
  readonly root: string;
  readonly disk: Disk;
  /** Reads all headers, the newest checkpoint and the newest segment. */
  readonly quick?: boolean;
  /** Checks sealed segments on threads, some ahead of the others; without it, one after another. */
  readonly checkSegment?: SegmentChecker;
  /** Which events tell what SHA-256 a sealed segment had: compared where `checkSegment` is given. */
  readonly sums?: SumEvents;
  /** Takes their word: segments that still have their sums are not checked record by record. */
  readonly bySums?: boolean;
}

/** Findings as they are made, and a summary as the last item. Fails with LogTooNew or HostFault. */
export async function* verifyLog(
  options: VerifyLogOptions,
): AsyncGenerator<VerifyItem, void, undefined> {
  yield* new Verifier(options).run();
}

type Findings<Answer> = AsyncGenerator<LogFinding, Answer, undefined>;

class Verifier {
  readonly #disk: Disk;
  readonly #root: string;
  readonly #quick: boolean;
  readonly #streams = new Map<string, number>();
  /** Streams are known from their beginning: nothing retired, skipped or damaged before. */
  #knowsStreams = true;
  #isSoundSoFar = true;
  #verified: ScanPlace = { offset: 0, position: 0, chain: Buffer.alloc(CHAIN_BYTES) };
  #lastTime: UnixNanos | null = null;
  #records = 0;
  #bytes = 0;
  #damage = 0;
  #warnings = 0;
  readonly #checker: SegmentChecker | null;
  readonly #sums: { readonly events: SumEvents; readonly suffice: boolean } | null;
  readonly #knownSums: KnownSums | null;
  /** SHA-256 of the records of each sealed segment in which nothing is damaged. */
  readonly #found: { readonly part: Part; readonly to: number; readonly sha256: string }[] = [];
  #vouched = 0;
  /** Chain hashes at the positions of checkpoints, as far as segments were checked ahead. */
  readonly #marked = new Map<number, Uint8Array>();

  constructor({ disk, root, quick, checkSegment, sums, bySums }: VerifyLogOptions) {
    this.#disk = disk;
    this.#root = root;
    this.#quick = quick ?? false;
    this.#checker = this.#quick ? null : (checkSegment ?? null);
    this.#sums = sums ? { events: sums, suffice: bySums ?? false } : null;
    this.#knownSums = sums ? new KnownSums(sums) : null;
  }

  async *run(): AsyncGenerator<VerifyItem, void, undefined> {
    const identity = yield* this.#identity();
    const survey = await listSegments(this.#disk, this.#root, identity);
    const { segments } = survey;
    const parts = partsOf(survey);
    const first = parts[0]?.named.position ?? 0;
    this.#knowsStreams = first === 0 && !this.#quick;
    if (segments[0]?.header.firstPosition === first) this.#verified = startOf(segments[0]);
    const queries = await this.#queries(survey, parts);
    const summed = await this.#summed(queries, survey);
    this.#vouched = summed?.vouched ?? 0;
    const ahead = summed ?? (this.#checker && new PrefetchedCheck(this.#checker, queries));
    for (const [index, part] of parts.entries()) {
      for (const { kind, segment, position: at, found } of survey.faults) {
        if (segment === part.named.name) yield this.#finding(kind, segment, 0, at, found);
      }
      const sound = await ahead?.take(index);
      if (sound && this.#moveOver(part, sound, parts[index + 1])) continue;
      if (sound?.streams === null) this.#vouched -= 1;
      yield* this.#verifyPart(part, parts[index + 1]);
    }
    yield* this.#compareSums();
    const lost = parts.length > 0 ? null : await logMissing(this.#disk, this.#root);
    if (lost !== null) yield this.#finding('log-missing', 'log', 0, 0, lost);
    const uuid = identity?.uuid ?? segments[0]?.header.uuid ?? '';
    yield* this.#verifyCheckpoints(uuid, parts, first);
    const tell: TellFinding = (...found) => this.#finding(...found);
    if (!this.#quick) yield* indexFindings(this.#disk, this.#root, parts, tell);
    yield* otherFiles(this.#disk, this.#root, this.#verified.position, tell);
    yield {
      kind: 'summary',
      from: position(first),
      verifiedTo: position(this.#verified.position),
      chain: this.#verified.chain.toString('hex'),
      records: this.#records,
      bytes: this.#bytes,
      segments: parts.length,
      vouched: this.#vouched,
      damage: this.#damage,
      warnings: this.#warnings,
    };
  }

  async *#identity(): Findings<StoredIdentity | null> {
    try {
      const identity = await readIdentity(this.#disk, this.#root);
      if (identity !== null) return identity;
      yield this.#finding('identity-missing', 'identity.json', 0, 0, 'there is no identity');
    } catch (thrown) {
      if (!(thrown instanceof RootRefused)) throw thrown;
      yield this.#finding('identity-damaged', 'identity.json', 0, 0, thrown.message);
      // The records tell of themselves whether they are sound.
      this.#isSoundSoFar = true;
    }
    return null;
  }

  #finding(
    kind: LogFindingKind,
    segment: string,
    offset: number,
    at: number,
    detail: string,
  ): LogFinding {
    const severity = SEVERITY[kind];
    if (severity === 'damage') {
      this.#damage += 1;
      this.#isSoundSoFar = false;
    }
    if (severity === 'warning') this.#warnings += 1;
    return { kind, severity, segment, offset, position: position(at), detail };
  }

  /** Empty if segments are not checked in advance, or a header is damaged: then all are read. */
  async #queries(
    survey: SegmentList,
    parts: readonly Part[],
  ): Promise<readonly (SegmentToCheck | null)[]> {
    if (this.#checker === null || survey.faults.length > 0) return [];
    const { checkpoints } = await listLog(this.#disk, this.#root);
    const positions = checkpoints.map((checkpoint) => checkpoint.position);
    const segments = parts.map(({ segment }) => segment);
    return queriesOf(segments, positions, this.#knownSums?.type ?? null);
  }

  async #summed(
    queries: readonly (SegmentToCheck | null)[],
    { segments }: SegmentList,
  ): Promise<SummedSegments | null> {
    const segment = segments.at(-1);
    if (this.#checker === null || this.#sums?.suffice !== true || !segment) return null;
    return sumSegments(this.#checker, queries, { disk: this.#disk, segment }, this.#sums.events);
  }

  /** Moves over a segment that was found sound; false when it does not fit what came before it. */
  #moveOver(part: Part, sound: SoundSegment, next: Part | undefined): boolean {
    if (!next?.segment) return false;
    if (this.#lastTime !== null && sound.firstTime < this.#lastTime) return false;
    if (sound.streams === null) this.#knowsStreams = false;
    else if (this.#knowsStreams && !moveStreams(this.#streams, sound.streams)) return false;
    this.#lastTime = unixNanos(sound.lastTime);
    this.#records += sound.records;
    this.#bytes += SEGMENT.headerBytes + sound.bytes;
    this.#knownSums?.learnAll(sound.sums);
    const { firstPosition: to } = next.segment.header;
    this.#found.push({ part, to, sha256: sound.sha256 });
    for (const [at, chain] of sound.marks) this.#marked.set(at, chain);
    if (this.#isSoundSoFar) this.#verified = startOf(next.segment);
    return true;
  }

  /** Of segments that fit together: whether they still are what later events say. */
  *#compareSums(): Generator<LogFinding, void, undefined> {
    for (const { part, to, sha256 } of this.#found) {
      const { name, position: from } = part.named;
      const recorded = this.#knownSums?.of(from, to, sha256);
      if (!recorded || recorded.sha256 === sha256) continue;
      const detail =
        `when they were checked, the records ${from} to ${to - 1} had the SHA-256 ` +
        `${recorded.sha256}; now they have ${sha256}, and fit together: they were replaced`;
      yield this.#finding('sum-disagrees', name, SEGMENT.headerBytes, from, detail);
      if (part.segment && from < this.#verified.position) this.#verified = startOf(part.segment);
    }
  }

  async *#verifyPart(part: Part, next: Part | undefined): Findings<void> {
    // A quick look believes what it does not read. Where the next header is damaged, nothing else
    // says how far this segment goes.
    if (this.#quick && next && (next.segment || !part.segment)) {
      if (this.#isSoundSoFar && next.segment) this.#verified = startOf(next.segment);
      return;
    }
    const file = await this.#openPart(part);
    if (file === null) {
      this.#knowsStreams = false;
      return;
    }
    try {
      this.#bytes += SEGMENT.headerBytes;
      let start = part.segment ? startOf(part.segment) : await this.#firstWhole(file, part.named);
      while (start) {
        const isFirst: boolean = start.position === part.named.position;
        const sha256 = createHash('sha256');
        const onPage = (records: Buffer): void => void sha256.update(records);
        const scan: SegmentScan = new SegmentScan(file, start, { keepOffsets: true, onPage });
        yield* this.#verifyRecords(part.named.name, scan, start);
        start = yield* this.#judgeStop(file, part, next, scan);
        const to = next?.segment?.header.firstPosition;
        if (part.segment && isFirst && scan.end.position === to) {
          this.#found.push({ part, to, sha256: sha256.digest('hex') });
        }
      }
    } finally {
      await file.close();
    }
  }

  /** Null for what only has the name of a segment: the finding about its header has said so. */
  async #openPart({ named, segment }: Part): Promise<DiskFile | null> {
    try {
      return await this.#disk.open(`${logDirectory(this.#root)}/${named.name}`, 'read');
    } catch (thrown) {
      if (segment === null && NO_FILE.has(errnoOf(thrown) ?? '')) return null;
      throw thrown;
    }
  }

  async #firstWhole(file: DiskFile, named: NamedAt): Promise<ScanPlace | null> {
    this.#knowsStreams = false;
    return this.#onward(file, await bytesAfter(file, 0, named.position));
  }

  /** Behind the next whole record: its chain field is believed, for what it continues is lost. */
  async #onward(file: DiskFile, behind: BytesAfter): Promise<ScanPlace | null> {
    const record = behind.records[0];
    if (!record) return null;
    const chain = Buffer.alloc(CHAIN_BYTES);
    await file.read(chain, record.offset + RECORD.chain);
    this.#records += 1;
    this.#bytes += record.end - record.offset;
    return { offset: record.end, position: record.position + 1, chain };
  }

  async *#verifyRecords(name: string, scan: SegmentScan, start: ScanPlace): Findings<void> {
    let seen = 0;
    for (let batch = await scan.next(); batch !== null; batch = await scan.next()) {
      const offsets = scan.offsets.slice(seen);
      seen = scan.offsets.length;
      this.#records += batch.length;
      const known = this.#knownSums;
      for (const { type, data } of batch) if (type === known?.type) known.learn(data);
      if (this.#knowsStreams) yield* this.#verifyVersions(name, batch, offsets);
      yield* this.#verifyTimes(name, batch, offsets);
      if (this.#isSoundSoFar) this.#verified = scan.end;
    }
    this.#bytes += scan.end.offset - start.offset;
  }

  *#verifyVersions(
    name: string,
    batch: readonly LogRecord[],
    offsets: readonly number[],
  ): Generator<LogFinding, void, undefined> {
    for (let rest = batch; rest.length > 0;) {
      const wrong = countStreams(this.#streams, rest, 0);
      if (!wrong) return;
      const { record, expected } = wrong;
      const { stream, streamVersion } = record;
      const detail = `stream ${stream} goes on with version ${streamVersion} instead of ${expected}`;
      const offset = offsets[batch.indexOf(record)] ?? 0;
      yield this.#finding('stream-version-wrong', name, offset, record.position, detail);
      this.#streams.set(stream, streamVersion);
      rest = rest.slice(rest.indexOf(record));
    }
  }

  *#verifyTimes(
    name: string,
    batch: readonly LogRecord[],
    offsets: readonly number[],
  ): Generator<LogFinding, void, undefined> {
    for (const [index, { time, position: at }] of batch.entries()) {
      const last = this.#lastTime;
      this.#lastTime = time;
      if (last === null || time >= last) continue;
      const detail = `${formatTime(time)} comes after ${formatTime(last)}: the clock was set back`;
      yield this.#finding('time-stepped-back', name, offsets[index] ?? 0, at, detail);
    }
  }

  /** Says what stopped a scan; answers where to go on, or null at the end of the segment. */
  async *#judgeStop(
    file: DiskFile,
    part: Part,
    next: Part | undefined,
    scan: SegmentScan,
  ): Findings<ScanPlace | null> {
    const { reached, end } = scan;
    const judged = await judgeNewestEnd(file, scan);
    const { name } = part.named;
    if (next) {
      if (end.position !== next.named.position) {
        return yield* this.#damaged(file, name, scan, judged);
      }
      yield* this.#verifySeam(name, next, reached, judged.behind);
      return null;
    }
    // A writer may have completed the record meanwhile, and more after it.
    if (judged.behind.end > reached.offset && (await readsFurther(file, scan))) return end;
    if (judged.kind === 'damaged') return yield* this.#damaged(file, name, scan, judged);
    if (judged.kind === 'torn') {
      const tail = judged.bytesEnd - end.offset;
      const detail = `${tail} bytes: ${judged.found}. A start cuts them and keeps them aside`;
      yield this.#finding('torn-tail', name, end.offset, end.position, detail);
    }
    return null;
  }

  /** Where one segment ends and the next begins. */
  *#verifySeam(
    name: string,
    next: Part,
    reached: ScanPlace,
    behind: BytesAfter,
  ): Generator<LogFinding, void, undefined> {
    const { offset, position: at, chain } = reached;
    if (behind.end > offset) {
      const detail = `${behind.end - offset} bytes behind the last record are not all zero`;
      yield this.#finding('stray-bytes', name, offset, at, detail);
    }
    if (next.segment && !chain.equals(next.segment.header.chain)) {
      const detail = `${next.named.name} continues another hash chain than this segment ends with`;
      yield this.#finding('chain-broken', name, offset, at, detail);
    }
  }

  async *#damaged(
    file: DiskFile,
    name: string,
    { reached, stop }: SegmentScan,
    { behind }: NewestEnd,
  ): Findings<ScanPlace | null> {
    const kind = damageKind(stop, behind.records.length === 0);
    const detail = describeLoss(stop, behind);
    yield this.#finding(kind, name, reached.offset, reached.position, detail);
    this.#knowsStreams = false;
    return this.#onward(file, behind);
  }

  async *#verifyCheckpoints(uuid: string, parts: readonly Part[], first: number): Findings<void> {
    const { checkpoints } = await listLog(this.#disk, this.#root);
    let usable = 0;
    for (const named of this.#quick ? checkpoints.toReversed() : checkpoints) {
      // An older one has no more information about the end.
      if (this.#quick && usable > 0) break;
      const { name, position: at } = named;
      const reading = await examineCheckpoint(this.#disk, this.#root, named, uuid);
      if (reading.kind === 'unusable') {
        yield this.#finding('checkpoint-unusable', name, 0, at, reading.reason);
        continue;
      }
      if (at < first) {
        const why = `the log begins at position ${first}: the records behind it were retired`;
        yield this.#finding('checkpoint-unusable', name, 0, at, why);
        continue;
      }
      usable += 1;
      const chain = await this.#chainAt(parts, at);
      if (chain === 'unknown' || (chain && reading.envelope.chain.equals(chain))) continue;
      const detail = chain
        ? 'the log holds other records than those it was taken of'
        : 'the log does not reach its position';
      yield this.#finding('checkpoint-disagrees', name, 0, at, detail);
    }
    if (first > 0 && usable === 0) {
      const detail = `the log begins at position ${first}, and no checkpoint is usable`;
      yield this.#finding('checkpoint-missing', '', 0, first, detail);
    }
  }

  /** Chain hash at a position; null if the log does not reach it, `unknown` after damage. */
  async #chainAt(parts: readonly Part[], at: number): Promise<Uint8Array | null | 'unknown'> {
    const marked = this.#marked.get(at);
    if (marked) return marked;
    const part = parts.findLast(({ named }) => named.position <= at);
    const search = await placeAt(this.#disk, part?.segment ? [part.segment] : [], at);
    if (search.kind === 'found') return search.place.chain;
    // Damage before it was reported where it is.
    return search.kind === 'unreached' && this.#damage > 0 ? 'unknown' : null;
  }
}

/** Whether a second look reads further than the scan did. */
async function readsFurther(file: DiskFile, scan: SegmentScan): Promise<boolean> {
  const again = new SegmentScan(file, scan.end);
  await again.next();
  return again.reached.offset > scan.reached.offset;
}

function damageKind(stop: ScanStop | null, isLast: boolean): LogFindingKind {
  if (stop?.kind === 'contradiction') {
    const kinds = {
      position: 'position-wrong',
      chain: 'chain-broken',
      body: 'body-unusable',
    } as const;
    return kinds[stop.about];
  }
  return stop?.kind === 'nothing' && isLast ? 'segment-short' : 'record-damaged';
}
