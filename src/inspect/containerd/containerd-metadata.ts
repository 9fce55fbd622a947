/**
 * Reads containerd's metadata of a snapshotter's snapshots: the key per namespace, and the name
 * that the snapshotter uses. The metadata file (`io.containerd.metadata.v1.bolt/meta.db`) has the
 * buckets `v1/<namespace>/snapshots/<snapshotter>/<key>` with `name` and `parent` (containerd,
 * core/metadata/buckets.go). It does not store the kind of a snapshot.
 */
import type { Disk } from '../../base/ports.js';
import { BoltFile, BoltUnreadable, type BoltBucket } from './bolt-file.js';

export interface ContainerdSnapshot {
  readonly namespace: string;
  /** As `ctr` lists it. */
  readonly key: string;
  /** Name in the snapshotter: `<namespace>/<number>/<key>`. */
  readonly name: string;
  /** Key of the parent in the same namespace; null for none. */
  readonly parent: string | null;
}

export interface ContainerdView {
  readonly snapshots: readonly ContainerdSnapshot[];
  /** Every snapshotter with metadata in any namespace. */
  readonly snapshotters: readonly string[];
}

/** A busy containerd commits hundreds of transactions per second; a read takes 1 to 2 ms. */
const attemptsMax = 50;

/**
 * Reads a consistent view. Files of up to `bufferedMax` bytes are read in one call.
 *
 * Fails  BoltUnreadable, HostFault
 */
export async function readContainerdMetadata(
  disk: Disk,
  path: string,
  snapshotter: string,
  bufferedMax?: number,
): Promise<ContainerdView> {
  let last: unknown = null;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const file = await BoltFile.open(disk, path, bufferedMax);
    try {
      // Do not parse a read that is already known to be inconsistent.
      if (!(await file.isCurrent())) continue;
      const view = await viewIn(file, snapshotter);
      if (await file.isCurrent()) return view;
    } catch (thrown) {
      // Pages that were overwritten during the read look damaged; then the transaction has changed.
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
  if (version === null) {
    throw new BoltUnreadable("it is a bolt file, but not containerd's: no bucket v1");
  }
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
