/**
 * What containerd remembers of a snapshotter's snapshots: for each namespace its own key, and the
 * name under which the snapshotter knows it. Read from containerd's metadata file
 * (`io.containerd.metadata.v1.bolt/meta.db`), whose buckets are
 * `v1/<namespace>/snapshots/<snapshotter>/<key>` with `name` and `parent`
 * (containerd, core/metadata/buckets.go). The kind of a snapshot is not in it: that, containerd
 * asks the snapshotter.
 */
import type { Disk } from '../../base/ports.js';
import { BoltFile, BoltUnreadable, type BoltBucket } from './bolt-file.js';

export interface ContainerdSnapshot {
  readonly namespace: string;
  /** As `ctr` lists it. */
  readonly key: string;
  /** As the snapshotter knows it: `<namespace>/<number>/<key>`. */
  readonly name: string;
  /** Key of the parent in the same namespace; null when there is none. */
  readonly parent: string | null;
}

export interface ContainerdView {
  readonly snapshots: readonly ContainerdSnapshot[];
  /** Every snapshotter that containerd has ever kept snapshots of, in any namespace. */
  readonly snapshotters: readonly string[];
}

/** A busy containerd ends hundreds of transactions a second; one look takes a millisecond or two. */
const attemptsMax = 50;

/** One moment of it. Files of up to `heldMax` bytes are read at once. @throws BoltUnreadable, HostFault */
export async function readContainerdMetadata(
  disk: Disk,
  path: string,
  snapshotter: string,
  heldMax?: number,
): Promise<ContainerdView> {
  let last: unknown = null;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const file = await BoltFile.open(disk, path, heldMax);
    try {
      // What is known to be of two moments need not be looked through.
      if (!(await file.isCurrent())) continue;
      const view = await viewIn(file, snapshotter);
      if (await file.isCurrent()) return view;
    } catch (thrown) {
      // Pages that were being written over look like damage; then the transaction is another one.
      if (!(thrown instanceof BoltUnreadable) || (await file.isCurrent())) throw thrown;
      last = thrown;
    } finally {
      await file.close();
    }
  }
  const cause = last === null ? {} : { cause: last };
  throw new BoltUnreadable(`${path} changes faster than it can be read; try again`, cause);
}

async function viewIn(file: BoltFile, snapshotter: string): Promise<ContainerdView> {
  const snapshots: ContainerdSnapshot[] = [];
  const snapshotters = new Set<string>();
  const version = await file.find(file.root, 'v1');
  if (version === null) throw new BoltUnreadable("it is a bolt file, but not containerd's: no v1");
  for (const { name: namespace, bucket } of await bucketsIn(file, version)) {
    const ofSnapshots = await file.find(bucket, 'snapshots');
    if (ofSnapshots === null) continue;
    for (const { name, bucket: keys } of await bucketsIn(file, ofSnapshots)) {
      snapshotters.add(name);
      if (name !== snapshotter) continue;
      for (const { name: key, bucket: fields } of await bucketsIn(file, keys)) {
        snapshots.push({ namespace, key, ...(await fieldsOf(file, fields)) });
      }
    }
  }
  return { snapshots, snapshotters: [...snapshotters].sort() };
}

interface NamedBucket {
  readonly name: string;
  readonly bucket: BoltBucket;
}

async function bucketsIn(file: BoltFile, bucket: BoltBucket): Promise<readonly NamedBucket[]> {
  const found: NamedBucket[] = [];
  for await (const entry of file.entries(bucket)) {
    if ('bucket' in entry) found.push({ name: entry.key.toString('utf8'), bucket: entry.bucket });
  }
  return found;
}

async function fieldsOf(
  file: BoltFile,
  bucket: BoltBucket,
): Promise<Pick<ContainerdSnapshot, 'name' | 'parent'>> {
  let name = '';
  let parent: string | null = null;
  for await (const entry of file.entries(bucket)) {
    if ('bucket' in entry) continue;
    const field = entry.key.toString('utf8');
    if (field === 'name') name = entry.value.toString('utf8');
    if (field === 'parent' && entry.value.length > 0) parent = entry.value.toString('utf8');
  }
  return { name, parent };
}
