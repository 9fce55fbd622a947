/**
 * The FileSystem contract: provides the layers of remote snapshots. Methods and guarantees are
 * those of stargz-snapshotter v0.8.0 (`snapshot.FileSystem`), with an abort signal instead of a Go
 * context.
 */
import type { Labels } from '../base/units.js';

export interface FileSystem {
  /** Names the implementation in events and messages, for example `layer-store`. */
  readonly name: string;

  /**
   * Makes the layer that the labels describe visible at the mountpoint, an existing empty
   * directory. `containerd.io/snapshot.ref` is the requested chain ID.
   *
   * Rejects if the layer is not available; then nothing is mounted or written at the mountpoint.
   * Idempotent: succeeds if the mountpoint already shows the layer.
   */
  mount(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void>;

  /**
   * Called each time containerd uses the layer. Rejects with an actionable reason if the layer at
   * the mountpoint is unusable. Changes nothing.
   */
  check(mountpoint: string, labels: Labels, signal: AbortSignal): Promise<void>;

  /** Unmounts the layer. Succeeds if nothing is mounted at the mountpoint. */
  unmount(mountpoint: string, signal: AbortSignal): Promise<void>;
}
