/**
 * `stratalog inspect --containerd`: compares the metadata of containerd with the log, and prints the
 * commands that reconcile them. Read-only, without a lock.
 */
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, UsageError } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import { blockingDisk } from '../../host/files/blocking-disk.js';
import { BoltUnreadable } from '../../inspect/containerd/bolt-file.js';
import {
  ctrLines,
  diffContainerd,
  oursOf,
  type ContainerdDiff,
  type Difference,
  type OurSnapshot,
} from '../../inspect/containerd/containerd-diff.js';
import {
  readContainerdMetadata,
  type ContainerdView,
} from '../../inspect/containerd/containerd-metadata.js';
import { replayRoot } from '../../inspect/archive/replay-root.js';
import { metadataPathOf } from './containerd-socket.js';
import { EXIT } from '../exit-codes.js';
import { liveHolder } from './holder.js';
import { quoted } from '../args/moment.js';
import { printNotice, visible, type Output } from '../terminal/print.js';

export interface ContainerdFlags {
  readonly containerd?: string;
  readonly snapshotter?: string;
  readonly json?: true;
  readonly quiet?: true;
}

const usualName = 'stratalog';
/** The delay between two reads. Differences in both are not races with the running daemon. */
const secondReadMillis = 300;

interface Source {
  /** The metadata file. */
  readonly path: string;
  /** Null if a file was given. */
  readonly socket: string | null;
}

interface Contents {
  readonly ours: readonly OurSnapshot[];
  readonly view: ContainerdView;
}

export async function compareWithContainerd(
  root: string,
  given: string,
  flags: ContainerdFlags,
  out: Output,
): Promise<void> {
  // Synchronous reads are shorter, so that both sides are more likely from the same moment.
  const disk = blockingDisk();
  const source = await sourceOf(resolve(given));
  const snapshotter = flags.snapshotter ?? usualName;
  const contents = await readBoth(disk, root, source, snapshotter);
  requireSameSnapshotter(contents, snapshotter, flags.snapshotter !== undefined);
  const diff = await stableDiff(contents, () => readBoth(disk, root, source, snapshotter), root);
  const lines = ctrLines(diff, { snapshotter, address: source.socket });
  if (flags.json === true) {
    await out.json('inspect-containerd', {
      ...{ root, metadata: source.path, snapshotter },
      ...{ snapshots: contents.ours.length, remembered: contents.view.snapshots.length },
      differences: diff.differences,
      commands: lines,
    });
  } else if (flags.quiet === true) await out.lines(lines);
  else await print(out, contents, diff, lines);
  if (diff.differences.length > 0) process.exitCode = EXIT.findings;
}

/** A socket, a metadata file, or the root directory of containerd. */
async function sourceOf(path: string): Promise<Source> {
  const found = await stat(path).catch((thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') {
      throw new UsageError(
        `--containerd ${quoted(path)}: no such file; give containerd's socket, its meta.db, or its root directory`,
      );
    }
    throw thrown;
  });
  if (found.isSocket()) return { path: await metadataPathOf(path), socket: path };
  if (!found.isDirectory()) return { path, socket: null };
  return sourceOf(`${path}/io.containerd.metadata.v1.bolt/meta.db`);
}

async function readBoth(
  disk: Disk,
  root: string,
  { path }: Source,
  snapshotter: string,
): Promise<Contents> {
  try {
    const view = await readContainerdMetadata(disk, path, snapshotter);
    const { replay } = await replayRoot(disk, root);
    return { view, ours: oursOf(replay.forest) };
  } catch (thrown) {
    if (!(thrown instanceof BoltUnreadable)) throw thrown;
    throw new Error(`cannot read ${path} as metadata of containerd: ${thrown.message}`, {
      cause: thrown,
    });
  }
}

/** With the wrong snapshotter name, all snapshots would look like garbage. */
function requireSameSnapshotter(
  { ours, view }: Contents,
  snapshotter: string,
  isNamed: boolean,
): void {
  const { snapshotters, snapshots } = view;
  if (!snapshotters.includes(snapshotter) && ours.length > 0) {
    const known = snapshotters.length === 0 ? 'none' : snapshotters.map(visible).join(', ');
    const message = `containerd has no metadata of snapshotter ${quoted(snapshotter)}; known snapshotters: ${known}`;
    if (!isNamed)
      throw new UsageError(`${message}; give its name in containerd with --snapshotter`);
    // containerd may have lost its metadata, and the given name may be right.
    printNotice(`warning: ${message}; check the name in the configuration of containerd`);
  }
  const names = new Set(ours.map(({ name }) => name));
  if (ours.length > 0 && snapshots.length > 0 && !snapshots.some(({ name }) => names.has(name))) {
    printNotice('warning: no snapshot is in both; check that this is the root of that snapshotter');
  }
}

/** Keeps only differences that a second read confirms: with a daemon running, reads are not atomic. */
async function stableDiff(
  first: Contents,
  readAgain: () => Promise<Contents>,
  root: string,
): Promise<ContainerdDiff> {
  const diff = diffContainerd(first.ours, first.view.snapshots);
  if (diff.differences.length === 0 || (await liveHolder(root)) === null) return diff;
  await sleep(secondReadMillis);
  const second = await readAgain();
  const isConfirmed = (found: Difference): boolean =>
    diff.differences.some((before) => isDeepStrictEqual(before, found));
  return diffContainerd(second.ours, second.view.snapshots, isConfirmed);
}

async function print(
  out: Output,
  { ours, view }: Contents,
  diff: ContainerdDiff,
  lines: readonly string[],
): Promise<void> {
  const { differences, removals } = diff;
  if (differences.length > 0) {
    const rows = differences.map((found) => rowOf(found).map(visible));
    await out.table(['KIND', 'SNAPSHOT', 'EVIDENCE'], rows);
    await out.line('');
  }
  await out.line(`stratalog   ${ours.length} snapshots`);
  await out.line(`containerd  ${view.snapshots.length} snapshots`);
  await out.line(`differences ${differences.length}`);
  if (lines.length === 0) return;
  const writable = new Set(ours.flatMap(({ kind, name }) => (kind === 'active' ? [name] : [])));
  const inUse = removals.filter(({ name }) => writable.has(name)).length;
  await out.line('');
  if (inUse > 0) {
    await out.line(`# ${inUse} of these are active: remove the containers that use them first`);
  }
  await out.line('# Commands to reconcile containerd with the log, in this order:');
  if (removals.length > 1) {
    await out.line('# ("not found": containerd has already collected a parent without children)');
  }
  await out.lines(lines);
}

function rowOf(found: Difference): readonly [string, string, string] {
  switch (found.kind) {
    case 'OnlyInStratalog':
      return [
        found.kind,
        found.ours.name,
        `${found.ours.kind}, unknown to containerd: its next garbage collection removes it`,
      ];
    case 'OnlyInContainerd':
      return [
        found.kind,
        found.theirs.name,
        `containerd lists it in ${found.theirs.namespace}; a pull or container that needs it fails`,
      ];
    case 'OtherParent':
      return [
        found.kind,
        found.theirs.name,
        `its parent is ${found.ours.parent ?? 'none'}, but ${found.expected ?? 'none'} in containerd`,
      ];
  }
}
