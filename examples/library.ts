/**
 * The library in one page: a root, a small file system of our own behind remote snapshots, and
 * the life of an image's layers. Run as root: `npx tsx examples/library.ts`.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newSnapshotter, SnapshotError, type FileSystem } from '../src/api/library.js';

const work = mkdtempSync(join(tmpdir(), 'stratalog-example-'));
const layer = join(work, 'layer');
mkdirSync(layer);
writeFileSync(join(layer, 'hello'), 'from a layer that nobody pulled\n');

/** Shows one directory for one chain id. A real one would fetch, verify and mount. */
const oneLayer: FileSystem = {
  name: 'one-layer',
  mount: (mountpoint, labels) => {
    const ref = labels.get('containerd.io/snapshot.ref') ?? '';
    if (ref !== 'sha256:example') return Promise.reject(new Error(`no layer ${ref} here`));
    execFileSync('mount', ['--bind', '-o', 'ro', layer, mountpoint]);
    return Promise.resolve();
  },
  check: (mountpoint) => {
    readFileSync(join(mountpoint, 'hello'));
    return Promise.resolve();
  },
  unmount: (mountpoint) => {
    const isMounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${mountpoint} `);
    if (isMounted) execFileSync('umount', [mountpoint]);
    return Promise.resolve();
  },
};

const snapshotter = await newSnapshotter({ root: join(work, 'root'), fileSystem: oneLayer });
try {
  // Asked for by its chain id, the layer is ready at once: "already exists" is the good answer.
  try {
    await snapshotter.prepare('unpack', '', {
      labels: { 'containerd.io/snapshot.ref': 'sha256:example' },
    });
  } catch (thrown) {
    if (!(thrown instanceof SnapshotError) || thrown.kind !== 'AlreadyExists') throw thrown;
    console.log(`remote: ${thrown.refusal}`);
  }

  // A container's writable snapshot on it.
  const [mount] = await snapshotter.prepare('container', 'sha256:example');
  console.log(`container: ${mount?.type} with ${mount?.options.length} options`);

  // What it wrote becomes a layer of its own.
  await snapshotter.commit('result', 'container');
  await snapshotter.walk(({ name, kind, parent }) => {
    console.log(`${kind}: ${name}${parent === '' ? '' : ` on ${parent}`}`);
  });

  for (const name of ['result', 'sha256:example']) await snapshotter.remove(name);
  await snapshotter.cleanup();
} finally {
  await snapshotter.close();
  rmSync(work, { recursive: true });
}
