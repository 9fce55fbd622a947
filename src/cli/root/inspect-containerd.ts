/**
 * `stratalog inspect --containerd`: containerd's memory beside the log, and the lines that make
 * both agree. Reads both without a lock, and changes nothing.
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
import { say, visible, type Output } from '../terminal/print.js';

export interface ContainerdFlags {
  readonly containerd?: string;
  readonly snapshotter?: string;
  readonly json?: true;
  readonly quiet?: true;
}

const usualName = 'stratalog';
/** Between two looks beside a daemon; what both see is no race with its work. */
const secondLookMillis = 300;

interface Source {
  /** The metadata file. */
  readonly path: string;
  /** Null when it was named as a file. */
  readonly socket: string | null;
}

interface Look {
  readonly ours: readonly OurSnapshot[];
  readonly view: ContainerdView;
}

export async function compareWithContainerd(
  root: string,
  given: string,
  flags: ContainerdFlags,
  out: Output,
): Promise<void> {
  // Beside a containerd at work, the shorter a look is, the likelier it is of one moment.
  const disk = blockingDisk();
  const source = await sourceOf(resolve(given));
  const snapshotter = flags.snapshotter ?? usualName;
  const look = await lookAtBoth(disk, root, source, snapshotter);
  refuseStrangers(look, snapshotter, flags.snapshotter !== undefined);
  const diff = await lastingDiff(look, () => lookAtBoth(disk, root, source, snapshotter), root);
  const lines = ctrLines(diff, { snapshotter, address: source.socket });
  if (flags.json === true) {
    await out.json('inspect-containerd', {
      ...{ root, metadata: source.path, snapshotter },
      ...{ snapshots: look.ours.length, remembered: look.view.snapshots.length },
      differences: diff.differences,
      commands: lines,
    });
  } else if (flags.quiet === true) await out.lines(lines);
  else await print(out, look, diff, lines);
  if (diff.differences.length > 0) process.exitCode = EXIT.findings;
}

/** A socket, a metadata file, or the root directory of containerd. */
async function sourceOf(path: string): Promise<Source> {
  const found = await stat(path).catch((thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') {
      throw new UsageError(
        `--containerd ${quoted(path)}: it is not there; name containerd's socket, its meta.db, or its root directory`,
      );
    }
    throw thrown;
  });
  if (found.isSocket()) return { path: await metadataPathOf(path), socket: path };
  if (!found.isDirectory()) return { path, socket: null };
  return sourceOf(`${path}/io.containerd.metadata.v1.bolt/meta.db`);
}

async function lookAtBoth(
  disk: Disk,
  root: string,
  { path }: Source,
  snapshotter: string,
): Promise<Look> {
  try {
    const view = await readContainerdMetadata(disk, path, snapshotter);
    const { replay } = await replayRoot(disk, root);
    return { view, ours: oursOf(replay.forest) };
  } catch (thrown) {
    if (!(thrown instanceof BoltUnreadable)) throw thrown;
    throw new Error(`${path} cannot be read as containerd's metadata: ${thrown.message}`, {
      cause: thrown,
    });
  }
}

/** With the wrong name, all of ours would look like garbage. */
function refuseStrangers({ ours, view }: Look, snapshotter: string, isNamed: boolean): void {
  const { snapshotters, snapshots } = view;
  if (!snapshotters.includes(snapshotter) && ours.length > 0) {
    const known = snapshotters.length === 0 ? 'none at all' : snapshotters.map(visible).join(', ');
    const told = `containerd remembers nothing of a snapshotter ${quoted(snapshotter)}; it knows ${known}`;
    if (!isNamed) throw new UsageError(`${told}. Give its name in containerd with --snapshotter`);
    // It may have lost its memory, and whoever gave the name may know.
    say(`warning: ${told}. Is that its name in containerd's configuration?`);
  }
  const names = new Set(ours.map(({ name }) => name));
  if (ours.length > 0 && snapshots.length > 0 && !snapshots.some(({ name }) => names.has(name))) {
    say('warning: they have not one snapshot in common; is this the root of that snapshotter?');
  }
}

/** Beside a daemon both cannot be read at one moment: only what a second look sees too counts. */
async function lastingDiff(
  first: Look,
  again: () => Promise<Look>,
  root: string,
): Promise<ContainerdDiff> {
  const diff = diffContainerd(first.ours, first.view.snapshots);
  if (diff.differences.length === 0 || (await liveHolder(root)) === null) return diff;
  await sleep(secondLookMillis);
  const second = await again();
  const isOld = (found: Difference): boolean =>
    diff.differences.some((before) => isDeepStrictEqual(before, found));
  return diffContainerd(second.ours, second.view.snapshots, isOld);
}

async function print(
  out: Output,
  { ours, view }: Look,
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
    await out.line(`# ${inUse} of these are writable: remove the containers that use them first`);
  }
  await out.line('# These lines make both agree, in this order:');
  if (removals.length > 1) {
    await out.line(
      '# ("not found": what nothing stood on any more, containerd has collected itself)',
    );
  }
  await out.lines(lines);
}

function rowOf(found: Difference): readonly [string, string, string] {
  switch (found.kind) {
    case 'OnlyInStratalog':
      return [
        found.kind,
        found.ours.name,
        `${found.ours.kind}, and containerd does not remember it: its next collection removes it`,
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
        `stands on ${found.ours.parent ?? 'nothing'}; containerd means ${found.expected ?? 'nothing'}`,
      ];
  }
}
