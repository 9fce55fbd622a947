/**
 * Damaged roots, each made by a few lines, with what is found, what is done about it, and what
 * must be there afterwards. The sound log has 30 events in segments at 0, 8, 16 and 24; snapshots
 * 1 to 6 are layers on one another, 7 was removed at the end, 8 is a container. Where it has
 * checkpoints, they are at 12 and 26; `old` has lost its first segment to retirement.
 */
import type { Deeds } from './deeds.js';

export type SoundName = 'plain' | 'checked' | 'old' | 'foreign' | 'empty';

export interface DamagedCase {
  readonly name: string;
  /** `plain` unless said. */
  readonly of?: SoundName;
  readonly damage: (deeds: Deeds, foreign: Deeds) => unknown;
  readonly finds: readonly string[];
  readonly query?: { readonly fromDirectories?: boolean; readonly endAt?: number };
  /** `repair` unless said. */
  readonly kind?: 'sound' | 'impossible';
  /** Names of what is taken out, `identity.json` left out. */
  readonly takes?: readonly string[];
  /** Where the log goes on: all 30 events are kept unless said. */
  readonly end?: number;
  readonly start?: number;
  readonly lost?: readonly [from: number, to: number];
  readonly kept?: readonly number[];
  readonly salvaged?: readonly number[];
  /** Another epoch than 2. */
  readonly epoch?: number;
}

export const segment = (first: number): string => `${first.toString().padStart(20, '0')}.seg`;
export const checkpoint = (at: number): string => `${at.toString().padStart(20, '0')}.checkpoint`;

export const S0 = segment(0);
export const S8 = segment(8);
export const S16 = segment(16);
export const S24 = segment(24);
export const C12 = checkpoint(12);
export const C26 = checkpoint(26);

/** Of snapshots that are not known when the log ends here. */
export const unownedFrom = (id: number): readonly number[] =>
  [1, 2, 3, 4, 5, 6, 8].filter((one) => one >= id);
