/**
 * Whether a log extends chain heads that were noted earlier: has the record before the position
 * the hash that was noted? The chain is followed through every record that is kept, so a yes is a
 * proof that nothing up to there was changed since.
 */
import { reasonOf } from '../base/errors.js';
import type { Disk } from '../base/ports.js';
import { LogDamaged } from '../log/errors.js';
import { chainAt, rawBatches, soundSegments } from './export-records.js';

export interface NotedHead {
  /** Null when only the hash was noted. */
  readonly position: number | null;
  readonly chain: string;
  /** Null when it was not noted. */
  readonly uuid: string | null;
}

export type HeadCheck =
  /** The log has this head, and goes on from it. */
  | { readonly verdict: 'extends'; readonly position: number }
  /** Nothing is proved. */
  | {
      readonly verdict:
        /** The log ends before it. */
        | 'cut'
        /** Another record stands there. */
        | 'differs'
        /** No record has this hash. */
        | 'absent'
        /** What was there is not kept any more. */
        | 'retired'
        /** It cannot be read up to there. */
        | 'damaged'
        | 'other-log';
      readonly detail: string;
    };

/** A verdict for each head, in their order. Fails with LogTooNew or HostFault. */
export async function judgeHeads(
  disk: Disk,
  root: string,
  heads: readonly NotedHead[],
): Promise<readonly HeadCheck[]> {
  const sound = await soundSegments(disk, root);
  const header = sound.segments[0]?.header;
  const uuid = sound.identity?.uuid ?? header?.uuid ?? null;
  const first = header?.firstPosition ?? 0;
  const chain = header?.chain.toString('hex') ?? '0'.repeat(64);
  // The hash noted of each position, and the position of each hash: as the log has them.
  const wanted = new Set(heads.map(({ position }) => position));
  const wantedChains = new Set(heads.map((head) => head.chain));
  const chains = new Map<number, string>([[first, chain]]);
  const positions = new Map<string, number>([[chain, first]]);
  let end = first;
  let damage: string | null = null;
  try {
    for await (const { bytes, starts } of rawBatches(disk, sound)) {
      for (const start of starts) {
        end += 1;
        const found = chainAt(bytes, start);
        if (wanted.has(end)) chains.set(end, found);
        if (wantedChains.has(found)) positions.set(found, end);
      }
    }
  } catch (thrown) {
    if (!(thrown instanceof LogDamaged)) throw thrown;
    damage = reasonOf(thrown);
  }
  const log = { uuid, first, end, damage, chains, positions };
  return heads.map((head) => verdictOn(head, log));
}

interface ReadLog {
  readonly uuid: string | null;
  readonly first: number;
  readonly end: number;
  readonly damage: string | null;
  readonly chains: ReadonlyMap<number, string>;
  readonly positions: ReadonlyMap<string, number>;
}

function verdictOn(head: NotedHead, log: ReadLog): HeadCheck {
  const { position, chain, uuid } = head;
  const { first, end, damage } = log;
  if (uuid !== null && log.uuid !== null && uuid !== log.uuid) {
    return {
      verdict: 'other-log',
      detail: `it is of the log ${uuid}, and this one is ${log.uuid}`,
    };
  }
  if (position === null) {
    const found = log.positions.get(chain);
    if (found !== undefined) return { verdict: 'extends', position: found };
    const kept = `positions ${first} to ${end}`;
    if (damage !== null)
      return { verdict: 'damaged', detail: `not within ${kept}; then ${damage}` };
    return { verdict: 'absent', detail: `no record of ${kept} has this chain hash` };
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
    detail: `the log has the chain hash ${log.chains.get(position) ?? 'of another record'} there: it was rewritten`,
  };
}
