/**
 * The label of Prepare that names the chain id a client would like to find ready
 * (containerd, core/snapshots/snapshotter.go). Deciding and file systems both read it.
 */
export const TARGET_LABEL = 'containerd.io/snapshot.ref';
