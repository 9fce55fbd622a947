/**
 * What each state's effect does to the world, and how its end is reported: as a command, decided
 * like any other. Every effect may be run again from the start: after a crash it will be.
 */
import { assert, assertNever } from '../base/assert.js';
import { errnoOf, HostFault, NotBegun, reasonOf, TimeLimitPassed } from '../base/errors.js';
import { entriesInUse, useInWords, type MountUse } from '../base/mount-layers.js';
import type {
  DirectoryOwner,
  DirectoryUse,
  MountTable,
  SnapshotDirectories,
} from '../base/ports.js';
import type { SnapshotId } from '../base/units.js';
import type { FileSystem } from '../filesystems/contract.js';
import type { Command } from '../machines/commands.js';
import { FAULT_KINDS, type Fault } from '../machines/events/events.js';
import type { RemoteLayer } from '../machines/facts.js';
import type { SnapshotState } from '../machines/fold.js';
import { hasIdmappedLayers, rootOf } from '../machines/id-mapping.js';
import type { Maker } from '../machines/client-identity.js';
import { Refused } from '../machines/refusals.js';
import type { StateEffect } from '../machines/snapshot-machine.js';

/** What the effects reach. */
export interface EffectWorld {
  readonly directories: SnapshotDirectories;
  readonly mountTable: MountTable;
  readonly fileSystem: FileSystem | null;
  /** `data`: contents and directories are durable before the event that tells of them. */
  readonly durability: 'data' | 'metadata';
  /** Makes all layer data durable; shared by the commits that wait for it. */
  readonly flush: () => Promise<void>;
  /** Records that an abandoned directory is in use and kept. Resolves when that is durable. */
  readonly setAside: (id: SnapshotId, evidence: string) => Promise<void>;
  readonly idmappedMounts: IdmappedLayerMounts;
  /** The snapshot below; undefined when it has none. */
  readonly parentOf: (state: SnapshotState) => SnapshotState | undefined;
  /** Why a client does not see what is mounted there; null when it does. */
  readonly whyHidden: (
    client: Maker | null,
    mountpoint: string,
    signal: AbortSignal,
  ) => Promise<string | null>;
}

/** The mounts that show layers with mapped ids, shared by the snapshots with the same maps. */
export interface IdmappedLayerMounts {
  /** Makes those that the snapshot needs and that are not there, for the client to see. */
  attach(state: SnapshotState, client: Maker | null, signal: AbortSignal): Promise<void>;
  /** Takes those away that were the snapshot's and that no other one needs. */
  release(state: SnapshotState, signal: AbortSignal): Promise<void>;
  /** Makes those of a layer again, after the layer itself was mounted again. */
  renew(layer: SnapshotId, signal: AbortSignal): Promise<void>;
}

type Outcome = Command;

export function workOf(
  effect: StateEffect,
  state: SnapshotState,
  world: EffectWorld,
): (signal: AbortSignal) => Promise<Outcome> {
  switch (effect) {
    case 'prepareDirectories':
      return (signal) => prepareDirectories(state, world, signal);
    case 'mapLayerIds':
      return (signal) => mapLayerIds(state, world, signal);
    case 'mountRemote':
      return (signal) => mountRemote(state, world, signal);
    case 'makeDurable':
      return (signal) => makeDurable(state, world, signal);
    case 'restoreLayer':
      return (signal) => restoreLayer(state, world, signal);
    case 'removeDirectories':
      return (signal) => removeDirectories(state, world, signal);
    default:
      return assertNever(effect);
  }
}

/**
 * The command that reports a failed effect; null when the state simply stays, as in `removing`.
 * `retryAt` is when a lost layer is tried again.
 */
export function failureOf(
  effect: StateEffect,
  thrown: unknown,
  retryAt: string | null,
): Outcome | null {
  const reason = reasonOf(thrown);
  switch (effect) {
    // A mount that failed cleanly is an outcome of the work itself. What comes here hangs, or
    // left something behind: such a directory is never given to a container.
    case 'mountRemote':
    case 'mapLayerIds':
    case 'prepareDirectories':
      return { command: 'DirectoriesFailed', reason, fault: faultOf(thrown) };
    case 'makeDurable':
      return { command: 'DataFailed', reason, fault: faultOf(thrown) };
    case 'restoreLayer':
      return { command: 'LayerLost', reason, retryAt };
    case 'removeDirectories':
      return null;
    default:
      return assertNever(effect);
  }
}

/** An error as recorded in the log and returned to the client. */
function faultOf(thrown: unknown): Fault {
  const name = thrown instanceof Refused ? thrown.refusal.name : nameOf(thrown);
  const kind = FAULT_KINDS.find((known) => known === name) ?? 'Error';
  return thrown instanceof HostFault ? { kind, errno: thrown.code } : { kind };
}

/** The command that reports a failed attempt to remove directories; null if none was made. */
export function removalFailureOf(
  { id }: SnapshotState,
  thrown: unknown,
  paths: Pick<SnapshotDirectories, 'fsPath'>,
): Extract<Outcome, { command: 'RemovalFailed' }> | null {
  if (thrown instanceof NotBegun) return null;
  const path = thrown instanceof HostFault ? thrown.path : paths.fsPath(id);
  const code =
    thrown instanceof TimeLimitPassed ? 'ETIMEDOUT' : (errnoOf(thrown) ?? nameOf(thrown));
  return { command: 'RemovalFailed', path, code, reason: reasonOf(thrown) };
}

const nameOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.name : 'Error');

async function prepareDirectories(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  await world.directories.prepare(
    state.id,
    {
      work: state.preparedAs === 'active',
      owner: ownerFor(state, world.parentOf(state)),
      durable: world.durability === 'data',
    },
    signal,
  );
  return { command: 'DirectoriesReady' };
}

/** A mapping wins over the parent; only uid and gid are taken over (overlay.go, createSnapshot). */
export function ownerFor(
  { idMapping }: SnapshotState,
  parent: SnapshotState | undefined,
): DirectoryOwner {
  return idMapping === null ? (parent?.owner ?? 'process') : rootOf(idMapping);
}

async function mapLayerIds(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  await world.idmappedMounts.attach(state, state.maker, signal);
  return { command: 'IdsMapped' };
}

async function mountRemote(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  const { fileSystem, directories } = world;
  assert(fileSystem !== null && state.remote !== null, 'a remote mount has a file system');
  const mountpoint = directories.fsPath(state.id);
  try {
    await mountAndCheck(fileSystem, mountpoint, state.remote, world.mountTable, signal);
    // Asked now, not before: the client acts on the reply, and the mount is what it must see.
    const hidden = await world.whyHidden(state.maker, mountpoint, signal);
    if (hidden !== null) throw new Error(hidden);
    const owner = await directories.ownerOf(state.id, signal);
    const usage = { size: 0, inodes: 0 };
    return { command: 'RemoteReady', fileSystem: fileSystem.name, usage, owner };
  } catch (thrown) {
    signal.throwIfAborted();
    await leaveClean(state, world, signal);
    return { command: 'RemoteFailed', reason: reasonOf(thrown) };
  }
}

/** A layer that only claims to be mounted would be an empty one to every container on it. */
async function mountAndCheck(
  fileSystem: FileSystem,
  mountpoint: string,
  { mountLabels }: RemoteLayer,
  mountTable: MountTable,
  signal: AbortSignal,
): Promise<void> {
  await fileSystem.mount(mountpoint, mountLabels, signal);
  await fileSystem.check(mountpoint, mountLabels, signal);
  const mounts = await mountTable.read(signal);
  if (!mounts.some((entry) => entry.mountpoint === mountpoint)) {
    throw new Error(`${fileSystem.name} reported success, but nothing is mounted on ${mountpoint}`);
  }
}

/**
 * The contract asks the file system to leave the mountpoint clean. It is about to become an
 * upper directory, so that is seen to rather than believed.
 */
async function leaveClean(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<void> {
  const mountpoint = world.directories.fsPath(state.id);
  const mounts = await world.mountTable.read(signal);
  if (mounts.some((entry) => entry.mountpoint === mountpoint)) {
    assert(world.fileSystem !== null, 'a remote mount has a file system');
    await world.fileSystem.unmount(mountpoint, signal);
  }
  await world.directories.empty(state.id, signal);
}

async function makeDurable(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  const { durability } = world;
  const [{ usage, owner }] = await Promise.all([
    world.directories.measure(state.id, signal),
    durability === 'data' ? world.flush() : undefined,
  ]);
  return { command: 'DataReady', usage, owner, durability };
}

async function restoreLayer(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  const found =
    state.remote === null
      ? await findOrdinaryLayer(state, world, signal)
      : await restoreRemoteLayer(state, state.remote, world, signal);
  // Those of an earlier mount go on showing that one.
  await world.idmappedMounts.renew(state.id, signal);
  return found;
}

async function restoreRemoteLayer(
  state: SnapshotState,
  remote: RemoteLayer,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  const { fileSystem, directories } = world;
  if (fileSystem === null) {
    throw new Error(`no remote file system is configured; "${remote.fileSystem}" provided it`);
  }
  const mountpoint = directories.fsPath(state.id);
  try {
    await fileSystem.check(mountpoint, remote.mountLabels, signal);
    return { command: 'LayerFound', how: 'checked' };
  } catch {
    // Why it is unusable stands in the log already; now it is mounted afresh.
    signal.throwIfAborted();
  }
  // Containers that run on the old mount keep it: overlay holds its own reference to each lower.
  await fileSystem.unmount(mountpoint, signal);
  await directories.prepare(state.id, { work: false, owner: 'process', durable: false }, signal);
  await mountAndCheck(fileSystem, mountpoint, remote, world.mountTable, signal);
  return { command: 'LayerFound', how: 'mounted' };
}

async function findOrdinaryLayer(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  if (await world.directories.hasFs(state.id, signal)) {
    return { command: 'LayerFound', how: 'checked' };
  }
  const path = world.directories.fsPath(state.id);
  throw new Error(
    `its directory ${path} is gone; put it back from a backup, or remove the image and pull it again`,
  );
}

async function removeDirectories(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  // A mount of a container keeps its own clones of them.
  if (hasIdmappedLayers(state)) await world.idmappedMounts.release(state, signal);
  if (state.removal?.because === 'inferred') return removeIfUnused(state, world, signal);
  await unmountLayer(state, world, signal);
  await world.directories.remove(String(state.id), signal);
  return { command: 'DirectoriesGone' };
}

/**
 * That the preparation was abandoned is concluded from a log that lacks its end. If that end was
 * lost with later records, a container may use the directory: then it is kept, its mount as well.
 */
async function removeIfUnused(
  state: SnapshotState,
  world: EffectWorld,
  signal: AbortSignal,
): Promise<Outcome> {
  const { directories } = world;
  const name = String(state.id);
  const user = state.remote === null ? null : await userOfLayer(state, world, signal);
  if (user === null) await unmountLayer(state, world, signal);
  const use: DirectoryUse =
    user === null
      ? await directories.removeUnused(name, signal)
      : { kind: 'used', by: 'mount', evidence: useInWords(user) };
  if (use.kind === 'unknown') throw new HostFault(use.operation, use.path, use.code);
  if (use.kind === 'used') await world.setAside(state.id, use.evidence);
  return { command: 'DirectoriesGone' };
}

/** A mount elsewhere that uses the layer; its own mount, which the preparation made, is none. */
async function userOfLayer(
  { id }: SnapshotState,
  { directories, mountTable }: EffectWorld,
  signal: AbortSignal,
): Promise<MountUse | null> {
  const mounts = await mountTable.read(signal);
  const own = directories.fsPath(id);
  const others = mounts.filter(({ mountpoint }) => mountpoint !== own);
  const snapshots = own.slice(0, own.lastIndexOf(`/${id}/`));
  return entriesInUse([snapshots], others).get(String(id)) ?? null;
}

async function unmountLayer(
  { id, remote }: SnapshotState,
  { directories, fileSystem, mountTable }: EffectWorld,
  signal: AbortSignal,
): Promise<void> {
  if (remote === null) return;
  const mountpoint = directories.fsPath(id);
  if (fileSystem !== null) await fileSystem.unmount(mountpoint, signal);
  // Without the file system that made it, a plain unmount is all that can be done.
  else await unmountIfMounted(mountpoint, mountTable, signal);
}

async function unmountIfMounted(
  mountpoint: string,
  mountTable: MountTable,
  signal: AbortSignal,
): Promise<void> {
  const mounts = await mountTable.read(signal);
  const depth = mounts.filter((entry) => entry.mountpoint === mountpoint).length;
  for (let layer = 0; layer < depth; layer += 1) {
    await mountTable.unmount(mountpoint, { detach: false }, signal);
  }
}
