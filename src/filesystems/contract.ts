/**
 * The FileSystem contract: what stands behind remote snapshots. The shape and the promises are
 * those of stargz-snapshotter v0.8.0 (`snapshot.FileSystem`), with an abort signal in place of a
 * Go context.
 */
import type { Labels } from '../base/units.js';

export interface FileSystem {
  /** Names the implementation in events and messages, for example `layer-store`. */
  readonly name: string;

  /**
   * Makes the layer that the labels describe visible at the mountpoint, an existing empty
   * directory. `containerd.io/snapshot.ref` holds the chain id that is asked for.
   *
   * Fails when the layer is not to be had; the mountpoint is then left clean: nothing mounted,
   * nothing written. Idempotent: a mountpoint that already shows the layer is success.
   */
  mount(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void>;

  /**
   * Called each time containerd uses the layer. Rejects, with a reason a person can act on,
   * when the layer at the mountpoint cannot be used. Changes nothing.
   */
  check(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void>;

  /** Takes the layer away. A mountpoint where nothing is mounted is success. */
  unmount(mountpoint: string, signal: AbortSignal): Promise<void>;
}
