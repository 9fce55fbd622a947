/**
 * The segments of a log by their headers alone: which there are, and whether they follow one
 * another. What is in them is not read.
 *
 * Faults are collected, not thrown: opening refuses at the first, verifying reports them all.
 */
import pLimit from 'p-limit';
import { errnoOf } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { position } from '../../base/units.js';
import { LogDamaged, LogTooNew } from '../errors.js';
import { listLog, logDirectory, NO_FILE, withFile, type NamedAt } from '../files.js';
import {
  notAFile,
  readHeader,
  type HeaderReading,
  type SegmentHeader,
} from '../format/segment-header.js';

/** As many as the threads for files keep busy: each is small, and waited for. */
const READS_AT_ONCE = 16;

export interface ListedSegment {
  readonly name: string;
  /** From the name; differs from the header's only in a damaged log. */
  readonly namedPosition: number;
  readonly path: string;
  readonly header: SegmentHeader;
}

export type HeaderFaultKind =
  'header-damaged' | 'segment-misnamed' | 'segment-foreign' | 'segment-missing' | 'epoch-wrong';

export interface HeaderFault {
  readonly kind: HeaderFaultKind;
  readonly segment: string;
  readonly position: number;
  readonly found: string;
}

export interface SegmentList {
  /** With a sound header, by rising first position. */
  readonly segments: readonly ListedSegment[];
  readonly faults: readonly HeaderFault[];
  /** Without a sound header. */
  readonly headless: readonly NamedAt[];
}

/** A segment file; null when it has no sound header. */
export interface Part {
  readonly named: NamedAt;
  readonly segment: ListedSegment | null;
}

/** All segment files, by the position in their names. */
export function partsOf({ segments, headless }: SegmentList): readonly Part[] {
  const parts: Part[] = headless.map((named) => ({ named, segment: null }));
  for (const segment of segments) {
    const named = { name: segment.name, position: segment.namedPosition };
    parts.push({ named, segment });
  }
  return parts.sort((a, b) => a.named.position - b.named.position);
}

/** From the identity; null if it is not known, as for a copied part of a log. */
export interface ExpectedLog {
  readonly uuid: string;
  readonly epoch: number;
}

/**
 * Headers that were read before, by the names of their segments. They do not change as long as the
 * epoch stays; caches drop them when it changes.
 */
export type KnownHeaders = Map<string, SegmentHeader>;

/** Reads all headers that are not known. Fails with LogTooNew; HostFault ENOENT when a segment is retired meanwhile. */
export async function listSegments(
  disk: Disk,
  root: string,
  expected: ExpectedLog | null,
  known: KnownHeaders = new Map(),
): Promise<SegmentList> {
  const { segments: names } = await listLog(disk, root);
  const segments: ListedSegment[] = [];
  const faults: HeaderFault[] = [];
  const headless: NamedAt[] = [];
  const reads = await pLimit(READS_AT_ONCE).map(names, async (named) => ({
    named,
    ...(await readOne(disk, root, named, known)),
  }));
  for (const { named, ...read } of reads) {
    if (read.reading.kind === 'too-new') {
      throw new LogTooNew(`the segment ${read.path}`, read.reading.writtenBy);
    }
    if (read.reading.kind === 'damaged') {
      // A segment gets its name when its header is durable, so no crash leaves one without.
      faults.push(fault('header-damaged', named, read.reading.why));
      headless.push(named);
      continue;
    }
    const { header } = read.reading;
    faults.push(...headerFaults(named, header, segments.at(-1), expected, faults.length > 0));
    segments.push({ name: named.name, namedPosition: named.position, path: read.path, header });
  }
  return { segments, faults, headless };
}

interface HeaderRead {
  readonly path: string;
  readonly reading: HeaderReading;
}

async function readOne(
  disk: Disk,
  root: string,
  named: NamedAt,
  known: KnownHeaders,
): Promise<HeaderRead> {
  const path = `${logDirectory(root)}/${named.name}`;
  const header = known.get(named.name);
  if (header !== undefined) return { path, reading: { kind: 'valid', header } };
  try {
    const reading = await withFile(disk, path, 'read', readHeader);
    if (reading.kind === 'valid') known.set(named.name, reading.header);
    return { path, reading };
  } catch (thrown) {
    if (!NO_FILE.has(errnoOf(thrown) ?? '')) throw thrown;
    return { path, reading: notAFile };
  }
}

const fault = (kind: HeaderFaultKind, named: NamedAt, found: string): HeaderFault => ({
  kind,
  segment: named.name,
  position: named.position,
  found,
});

function headerFaults(
  named: NamedAt,
  header: SegmentHeader,
  before: ListedSegment | undefined,
  expected: ExpectedLog | null,
  isAfterFault: boolean,
): HeaderFault[] {
  const faults: HeaderFault[] = [];
  if (header.firstPosition !== named.position) {
    const found = `its header says that it begins at position ${header.firstPosition}`;
    faults.push(fault('segment-misnamed', named, found));
  }
  const uuid = expected?.uuid ?? before?.header.uuid;
  if (uuid !== undefined && header.uuid !== uuid) {
    faults.push(
      fault('segment-foreign', named, `it belongs to the log ${header.uuid}, not ${uuid}`),
    );
  }
  // Without a sound neighbour there is nothing to compare with.
  if (before && !isAfterFault && header.previousFirstPosition !== before.header.firstPosition) {
    const follows = header.previousFirstPosition ?? 'no segment';
    const found = `it follows the segment that begins at position ${follows}, which is not there`;
    faults.push(fault('segment-missing', named, found));
  }
  const epochMax = expected?.epoch ?? Infinity;
  if (header.epoch > epochMax || header.epoch < (before?.header.epoch ?? 1)) {
    const found =
      `it is of epoch ${header.epoch}; the segment before it is of epoch ` +
      `${before?.header.epoch ?? 1}, the identity of epoch ${epochMax}`;
    faults.push(fault('epoch-wrong', named, found));
  }
  return faults;
}

/** The survey of a log that must be sound. Fails with LogDamaged at the first fault. */
export async function listSoundSegments(
  disk: Disk,
  root: string,
  expected: ExpectedLog | null,
  known?: KnownHeaders,
): Promise<SegmentList> {
  const survey = await listSegments(disk, root, expected, known);
  const first = survey.faults[0];
  if (first) {
    throw new LogDamaged(
      { segment: first.segment, offset: 0, position: position(first.position) },
      first.found,
    );
  }
  return survey;
}
