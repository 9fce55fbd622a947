/**
 * How each kind of side effect is run, in one table: how many at once, for how long and how often
 * again. After the last attempt the result rejects; the requester decides what follows. Times are
 * milliseconds.
 */
import type { StateEffect } from '../machines/snapshot-machine.js';

/** Effects of states, and those that a request runs without a change of state. */
export type EffectName =
  | StateEffect
  /** `removeDirectories` of a remote snapshot: an unmount that may hang, and little to delete. */
  | 'removeRemote'
  | 'checkLayer'
  | 'measureUsage'
  /** Makes several directories in advance. */
  | 'preallocateDirectories'
  | 'removeOrphan'
  /** Unmounts layers with mapped ids that no snapshot needs any more. */
  | 'unmountIdmapped'
  | 'observe';

export interface EffectPolicy {
  readonly concurrency: number;
  readonly timeLimitMillis: number;
  /** How long it may wait for a slot; null where no caller waits for the result. */
  readonly waitLimitMillis: number | null;
  /** Attempts after the first, within one run of the effect; may be Infinity. */
  readonly retries: number;
  /** Before the first retry; doubles with each, up to the maximum, with jitter. */
  readonly backoffMillis: number;
  readonly backoffMillisMax: number;
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
  },
  mapLayerIds: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: 5 * SECOND,
    ...once,
  },
  // stargz allows 30 s for a mount that may reach over a network (fs/fs.go).
  mountRemote: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: 5 * SECOND,
    ...once,
  },
  // A flush writes out what other processes have dirtied too, so it may take long.
  makeDurable: {
    concurrency: 16,
    timeLimitMillis: 5 * MINUTE,
    waitLimitMillis: MINUTE,
    ...once,
  },
  // Its retries are recorded in the log (LayerUnavailable.retryAt); the back-off is for those.
  restoreLayer: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    retries: 0,
    backoffMillis: SECOND,
    backoffMillisMax: 5 * MINUTE,
  },
  removeDirectories: {
    concurrency: 2,
    timeLimitMillis: 10 * MINUTE,
    waitLimitMillis: null,
    retries: Infinity,
    backoffMillis: SECOND,
    backoffMillisMax: MINUTE,
  },
  removeRemote: {
    concurrency: 16,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    retries: Infinity,
    backoffMillis: SECOND,
    backoffMillisMax: MINUTE,
  },
  checkLayer: {
    concurrency: 32,
    timeLimitMillis: 5 * SECOND,
    waitLimitMillis: 5 * SECOND,
    ...once,
  },
  measureUsage: {
    concurrency: 4,
    timeLimitMillis: MINUTE,
    waitLimitMillis: MINUTE,
    ...once,
  },
  preallocateDirectories: {
    concurrency: 1,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    ...once,
  },
  removeOrphan: {
    concurrency: 2,
    timeLimitMillis: 10 * MINUTE,
    waitLimitMillis: null,
    ...once,
  },
  unmountIdmapped: {
    concurrency: 4,
    timeLimitMillis: 30 * SECOND,
    waitLimitMillis: null,
    ...once,
  },
  observe: {
    concurrency: 4,
    timeLimitMillis: MINUTE,
    waitLimitMillis: null,
    ...once,
  },
};

/** The wait before the attempt after `attempts` failed ones: doubling, with up to a quarter of jitter. */
export function backoffMillis(policy: EffectPolicy, attempts: number, random: number): number {
  const doubled = policy.backoffMillis * 2 ** Math.min(attempts, 30);
  const capped = Math.min(doubled, policy.backoffMillisMax);
  return Math.round(capped * (1 - random / 4));
}

export const isEffectName = (name: string): name is EffectName => name in defaultPolicies;
