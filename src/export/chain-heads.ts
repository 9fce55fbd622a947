/**
 * Checks whether a log extends chain heads that were noted earlier: the record before the position
 * must have the noted hash. The check follows the chain through every retained record, so `extends`
 * proves that no record up to the position has changed.
 */
import { reasonOf } from '../base/errors.js';
import type { Disk } from '../base/ports.js';
import { LogDamaged } from '../log/errors.js';
import { chainAt, rawBatches, soundSegments } from './export-records.js';

export interface NotedHead {
  /** Null if only the hash was noted. */
  readonly position: number | null;
  readonly chain: string;
  /** Null if it was not noted. */
  readonly uuid: string | null;
}

export type HeadCheck =
  /** The log contains this head. */
  | { readonly verdict: 'extends'; readonly position: number }
  /** Not proven. */
  | {
      readonly verdict:
        /** The log ends before the position. */
        | 'cut'
        /** The record at the position has another hash. */
        | 'differs'
        /** No record has this hash. */
        | 'absent'
        /** The segment with the position was retired. */
        | 'retired'
        /** The log is damaged before the position. */
        | 'damaged'
        | 'other-log';
      readonly detail: string;
    };

/** Checks the heads and returns the results in the same order. Fails with LogTooNew or HostFault. */
export async function checkHeads(
  disk: Disk,
  root: string,
  heads: readonly NotedHead[],
): Promise<readonly HeadCheck[]> {
  const sound = await soundSegments(disk, root);
  const header = sound.segments[0]?.header;
  const uuid = sound.identity?.uuid ?? header?.uuid ?? null;
  const first = header?.firstPosition ?? 0;
  const chain = header?.chain.toString('hex') ?? '0'.repeat(64);
  const notedPositions = new Set(heads.map(({ position }) => position));
  const notedChains = new Set(heads.map((head) => head.chain));
  // The chain hash at each noted position, and the position of each noted hash, in this log.
  const chains = new Map<number, string>([[first, chain]]);
  const positions = new Map<string, number>([[chain, first]]);
  let end = first;
  let damage: string | null = null;
  try {
    for await (const { bytes, starts } of rawBatches(disk, sound)) {
      for (const start of starts) {
        end += 1;
        const found = chainAt(bytes, start);
        if (notedPositions.has(end)) chains.set(end, found);
        if (notedChains.has(found)) positions.set(found, end);
      }
    }
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    damage = reasonOf(thrown);
  }
  const log = { uuid, first, end, damage, chains, positions };
  return heads.map((head) => checkHead(head, log));
}

interface ReadLog {
  readonly uuid: string | null;
  readonly first: number;
  readonly end: number;
  readonly damage: string | null;
  readonly chains: ReadonlyMap<number, string>;
  readonly positions: ReadonlyMap<string, number>;
}

function checkHead(head: NotedHead, log: ReadLog): HeadCheck {
  const { position, chain, uuid } = head;
  const { first, end, damage } = log;
  if (uuid !== null && log.uuid !== null && uuid !== log.uuid) {
    return {
      verdict: 'other-log',
      detail: `the head belongs to log ${uuid}, but this log is ${log.uuid}`,
    };
  }
  if (position === null) {
    const found = log.positions.get(chain);
    if (found !== undefined) return { verdict: 'extends', position: found };
    const searched = `positions ${first} to ${end}`;
    if (damage !== null)
      return { verdict: 'damaged', detail: `not found in ${searched}; ${damage}` };
    return { verdict: 'absent', detail: `no record in ${searched} has this chain hash` };
  }
  if (position < first) {
    return { verdict: 'retired', detail: `the log begins at position ${first}` };
  }
  if (position > end) {
    if (damage !== null) return { verdict: 'damaged', detail: damage };
    return { verdict: 'cut', detail: `the log ends at position ${end}` };
  }
  if (log.chains.get(position) === chain) return { verdict: 'extends', position };
  return {
    verdict: 'differs',
    detail: `the chain hash in the log is ${log.chains.get(position) ?? 'that of another record'}: the log was rewritten`,
  };
}
