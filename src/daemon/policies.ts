/** Applies the configured time limits to the effect policies. */
import { defaultPolicies, type EffectPolicies } from '../effects/policies.js';
import type { Config } from './config/config.js';

export function policiesOf(limits: Config['effects']): EffectPolicies {
  const { prepareDirectories, mountRemote, makeDurable, restoreLayer } = defaultPolicies;
  const { removeDirectories, removeRemote, checkLayer, measureUsage } = defaultPolicies;
  const { preallocateDirectories, removeOrphan, observe, mapLayerIds, unmountIdmapped } =
    defaultPolicies;
  return {
    prepareDirectories: { ...prepareDirectories, timeLimitMillis: limits.directoriesTimeout },
    mapLayerIds: { ...mapLayerIds, timeLimitMillis: limits.mountTimeout },
    mountRemote: { ...mountRemote, timeLimitMillis: limits.mountTimeout },
    makeDurable: { ...makeDurable, timeLimitMillis: limits.flushTimeout },
    restoreLayer: { ...restoreLayer, timeLimitMillis: limits.restoreTimeout },
    removeDirectories: { ...removeDirectories, timeLimitMillis: limits.removeTimeout },
    removeRemote: { ...removeRemote, timeLimitMillis: limits.unmountTimeout },
    checkLayer: { ...checkLayer, timeLimitMillis: limits.checkTimeout },
    measureUsage: { ...measureUsage, timeLimitMillis: limits.usageTimeout },
    preallocateDirectories: {
      ...preallocateDirectories,
      timeLimitMillis: limits.directoriesTimeout,
    },
    removeOrphan: { ...removeOrphan, timeLimitMillis: limits.removeTimeout },
    unmountIdmapped: { ...unmountIdmapped, timeLimitMillis: limits.unmountTimeout },
    observe,
  };
}
