/**
 * How each kind of side effect is run, in one table: how many at once, for how long, how often
 * again, and what giving up means. Times are milliseconds.
 */
import type { StateEffect } from '../machines/snapshot-machine.js';

/** Effects of states, and those that a request runs without a change of state. */
export type EffectName =
  | StateEffect
  /** `removeDirectories` of a remote snapshot: an unmount that may hang, and little to delete. */
  | 'removeRemote'
  | 'checkLayer'
  | 'measureUsage'
  /** Several directories made ahead of time. */
  | 'preallocateDirectories'
  | 'removeOrphan'
  /** Mounts with mapped ids that no snapshot needs any more. */
  | 'unmountIdmapped'
  | 'observe';

export type GivingUp =
  /** The caller gets the fault; nothing is left behind. */
  | 'fail the command'
  /** The layer is unavailable until a later attempt, whose time stands in the log. */
  | 'mark the layer unavailable'
  /** It stays; the next Cleanup or restart tries again. */
  | 'leave for Cleanup'
  /** Tried again for as long as the daemon runs, and at once by each Cleanup. */
  | 'never given up';

export interface EffectPolicy {
  readonly concurrency: number;
  readonly timeLimitMillis: number;
  /** How long it may wait for a place; null where nobody waits for the answer. */
  readonly waitLimitMillis: number | null;
  /** Attempts after the first, within one run of the effect; may be Infinity. */
  readonly retries: number;
  /** Before the first retry; doubles with each, up to the maximum, with jitter. */
  readonly backoffMillis: number;
  readonly backoffMillisMax: number;
  readonly givingUp: GivingUp;
}

export type EffectPolicies = Readonly<Record<EffectName, EffectPolicy>>;

const SECOND = 1000;
const MINUTE = 60 * SECOND;

const once = { retries: 0, backoffMillis: 0, backoffMillisMax: 0 } as const;

export const defaultPolicies: EffectPolicies = {
  prepareDirectories: {
    concurrency: 64,
    timeLimitMillis: 10 * SECOND,
    waitLimitMillis: 10 * SECOND,
    ...once,
    givingUp: 'fail the command',
  },
  mapLayerIds: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: 5 * SECOND,
    ...once,
    givingUp: 'fail the command',
  },
  // stargz allows 30 s for a mount that may reach over a network (fs/fs.go).
  mountRemote: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: 5 * SECOND,
    ...once,
    givingUp: 'fail the command',
  },
  // A flush writes out what other processes have dirtied too, so it may take long.
  makeDurable: {
    concurrency: 16,
    timeLimitMillis: 5 * MINUTE,
    waitLimitMillis: MINUTE,
    ...once,
    givingUp: 'fail the command',
  },
  // Its retries stand in the log as LayerUnavailable.retryAt: back-off is for those.
  restoreLayer: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    retries: 0,
    backoffMillis: SECOND,
    backoffMillisMax: 5 * MINUTE,
    givingUp: 'mark the layer unavailable',
  },
  removeDirectories: {
    concurrency: 2,
    timeLimitMillis: 10 * MINUTE,
    waitLimitMillis: null,
    retries: Infinity,
    backoffMillis: SECOND,
    backoffMillisMax: MINUTE,
    givingUp: 'never given up',
  },
  removeRemote: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    retries: Infinity,
    backoffMillis: SECOND,
    backoffMillisMax: MINUTE,
    givingUp: 'never given up',
  },
  checkLayer: {
    concurrency: 32,
    timeLimitMillis: 5 * SECOND,
    waitLimitMillis: 5 * SECOND,
    ...once,
    givingUp: 'mark the layer unavailable',
  },
  measureUsage: {
    concurrency: 4,
    timeLimitMillis: MINUTE,
    waitLimitMillis: MINUTE,
    ...once,
    givingUp: 'fail the command',
  },
  preallocateDirectories: {
    concurrency: 1,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    ...once,
    givingUp: 'leave for Cleanup',
  },
  removeOrphan: {
    concurrency: 2,
    timeLimitMillis: 10 * MINUTE,
    waitLimitMillis: null,
    ...once,
    givingUp: 'leave for Cleanup',
  },
  unmountIdmapped: {
    concurrency: 4,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    ...once,
    givingUp: 'leave for Cleanup',
  },
  observe: {
    concurrency: 4,
    timeLimitMillis: MINUTE,
    waitLimitMillis: null,
    ...once,
    givingUp: 'fail the command',
  },
};

/** The wait before the attempt after `attempts` failed ones: doubling, with up to a quarter of jitter. */
export function backoffMillis(policy: EffectPolicy, attempts: number, random: number): number {
  const doubled = policy.backoffMillis * 2 ** Math.min(attempts, 30);
  const capped = Math.min(doubled, policy.backoffMillisMax);
  return Math.round(capped * (1 - random / 4));
}
