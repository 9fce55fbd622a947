/**
 * What must hold of a reply, of a daemon at any moment, and of one at rest. The witness is the
 * measure: it has read the log itself, and only what is durable of it.
 */
import type { FileOwner } from '../../src/base/ports.js';
import { snapshotName, type Position, type SnapshotId } from '../../src/base/units.js';
import type { LogRecord } from '../../src/log/types.js';
import type { SnapshotInfo } from '../../src/machines/snapshots/info.js';
import type { SnapshotState } from '../../src/machines/fold.js';
import type { Forest } from '../../src/machines/snapshots/forest.js';
import { REMOTE_LABEL, storedLabels, TARGET_LABEL } from '../../src/machines/labels.js';
import type { MountSpec } from '../../src/snapshotter/mounts.js';
import { clonesUnder, lowerOf, mapsDirectoryOf, neededClones } from '../support/idmapped-needs.js';
import { describeCall, labelsText } from './client-model.js';
import type { Call, CallOf, Outcome } from './calls.js';
import type { ClientName } from './sim-clients.js';
import { ROOT, type SimHost } from './sim-host.js';

/** A use may join the check of another under way, which ends with a restore and the log. */
const SHARED_MILLIS = 10_000;
const SHOWN = /^(active|committing|view|committed\.\w+)$/;

/** What stood in a snapshot when a client asked for its Commit. */
export interface Written {
  readonly id: SnapshotId;
  readonly content: string;
}

export class Checks {
  readonly #host: SimHost;
  /** What stood in each layer when its Commit was answered. */
  readonly #contents = new Map<number, string>();

  constructor(host: SimHost) {
    this.#host = host;
  }

  /** A reply has just come, to a call that was made at `since`. */
  reply(tag: string, call: Call, outcome: Outcome, written: Written | null, since: number): void {
    this.#host.observe();
    const wrong =
      this.#wrongReply(tag, call, outcome, written) ?? this.#unchecked(call, outcome, since);
    if (wrong !== null) this.#host.break(`${describeCall(call)} (${tag}): ${wrong}`);
  }

  /** What a client must not be told, because it cannot use it. */
  forClient(tag: string, call: Call, outcome: Outcome, client: ClientName): void {
    const wrong = this.#wrongForClient(call, outcome, client);
    if (wrong !== null) this.#host.break(`${client}: ${describeCall(call)} (${tag}): ${wrong}`);
  }

  #wrongForClient(call: Call, outcome: Outcome, client: ClientName): string | null {
    const { clients, witness, tree } = this.#host;
    const { forest } = witness.truth;
    const isReady = outcome.kind === 'refused' && outcome.refusal.name === 'TargetReady';
    if (isReady && clients.isBlind(client)) return 'told of a layer that it does not see';
    if (isReady && call.kind === 'Prepare') {
      const parent = call.parent === null ? undefined : forest.shown(snapshotName(call.parent));
      const layer = forest.remoteFor(call.labels.get(TARGET_LABEL) ?? '', parent?.id ?? null);
      const maker = clients.runningMaker(layer?.maker ?? null);
      return maker === null || maker === client ? null : `told of a layer of the ${maker} client`;
    }
    if (outcome.kind !== 'ok' || outcome.reply.what !== 'mounts') return null;
    if (!clients.isBlind(client)) return null;
    const paths = outcome.reply.mounts.flatMap(({ source, options }) => [
      source,
      ...options.flatMap((option) => option.replace(/^lowerdir=/, '').split(':')),
    ]);
    const remote = [...forest.values()].find(
      (state) => state.remote !== null && paths.includes(`${tree.path}/${state.id}/fs`),
    );
    return remote === undefined ? null : `given layer ${remote.id}, which it does not see`;
  }

  /** Holds at any moment while the daemon serves: all it shows is the durable log, folded. */
  moment(): void {
    const { opened, witness } = this.#host;
    if (opened === null) return;
    this.#host.observe();
    const at = opened.snapshotter.durablePosition;
    if (at > witness.position) {
      this.#host.break(`position ${at} is called durable; the disk has ${witness.position}`);
      return;
    }
    const listed = opened.snapshotter.list([]);
    const shown = listed.ok ? [...listed.value].map(textOfInfo).sort() : [];
    const expected = this.shownAt(at);
    const odd = shown.find((text) => !expected.includes(text));
    const missing = expected.find((text) => !shown.includes(text));
    if (odd !== undefined) this.#host.break(`List shows what the log does not say: ${odd}`);
    if (missing !== undefined) this.#host.break(`List does not show: ${missing}`);
    this.#forest();
    this.#projection(opened.projection, at);
  }

  /** The projection, by which Cleanup decides, is the replay of the log up to its position. */
  #projection(projection: Forest, at: Position): void {
    const { forest } = this.#host.witness.toldUpTo(at);
    const [lived, replayed] = [textsOf(projection), textsOf(forest)];
    const odd = lived.find((text) => !replayed.includes(text));
    const missing = replayed.find((text) => !lived.includes(text));
    if (odd !== undefined) this.#host.break(`the projection holds what no replay does: ${odd}`);
    if (missing !== undefined)
      this.#host.break(`the projection lacks what a replay has: ${missing}`);
  }

  /** What List must show when everything before a position is durable. Positions must not fall. */
  shownAt(at: Position): readonly string[] {
    const { forest } = this.#host.witness.toldUpTo(at);
    const shown = [...forest.values()].filter(({ status }) => SHOWN.test(status));
    return shown.map((state) => textOfInfo(infoOf(state))).sort();
  }

  /** What List must answer now. */
  expectedList(filters: readonly string[]): readonly string[] {
    const { opened } = this.#host;
    if (opened === null) return [];
    this.#host.observe();
    const all = this.shownAt(opened.snapshotter.durablePosition);
    const ref = filters[0]?.split('==')[1];
    return ref === undefined ? all : all.filter((text) => text.includes(`${TARGET_LABEL}=${ref}`));
  }

  /** No snapshot is on its way from one state to another. */
  nothingUnderWay(): void {
    this.#host.observe();
    for (const { id, status } of this.#host.witness.truth.forest.values()) {
      const isUnderWay = !SHOWN.test(status) && status !== 'awaitingCleanup';
      if (isUnderWay || status === 'committing') {
        this.#host.break(`snapshot ${id} is still ${status}`);
      }
    }
  }

  /** Holds when nothing is under way and nothing fails: one owner for each directory and mount. */
  rest(): void {
    this.#host.observe();
    const { witness, mounts, tree } = this.#host;
    const states = [...witness.truth.forest.values()];
    this.nothingUnderWay();
    for (const state of states) this.#atRest(state);
    const owners = new Set(states.map(({ id }) => String(id)));
    const { setAside } = witness.truth.forest;
    const orphan = tree.names.find(
      (name) => !owners.has(name) && !witness.isPreallocated(Number(name)) && !setAside.has(name),
    );
    if (orphan !== undefined) this.#host.break(`directory ${orphan} has no owner`);
    for (const { mountpoint, shows } of mounts.entries) {
      if (mounts.at(mountpoint).length > 1) this.#host.break(`${mountpoint} is mounted on twice`);
      if (shows !== null) {
        this.#idmappedAtRest(mountpoint, shows, states);
        continue;
      }
      const owner = states.find(({ id }) => `${tree.path}/${id}/fs` === mountpoint);
      if (owner?.remote == null) this.#host.break(`the mount on ${mountpoint} has no owner`);
    }
    for (const [id, content] of this.#contents) {
      const isThere = witness.truth.forest.get(id as SnapshotId) !== undefined;
      const found = tree.get(String(id))?.content;
      if (isThere && found !== content) {
        this.#host.break(`layer ${id} was committed with "${content}" and holds "${found}"`);
      }
      if (!isThere) this.#contents.delete(id);
    }
  }

  /** Each clone is needed, and shows the layer as it is mounted now. */
  #idmappedAtRest(mountpoint: string, shows: number, states: readonly SnapshotState[]): void {
    const { witness, mounts, tree } = this.#host;
    const isLeaving = states.some(
      (state) =>
        state.status === 'awaitingCleanup' &&
        mountpoint.startsWith(`${mapsDirectoryOf(ROOT, state) ?? '-'}/`),
    );
    if (isLeaving) return;
    if (!neededClones(ROOT, witness.truth.forest).has(mountpoint)) {
      this.#host.break(`${mountpoint} is mounted, and no snapshot needs it`);
    }
    const id = mountpoint.slice(mountpoint.lastIndexOf('/') + 1);
    const layer = mounts.at(`${tree.path}/${id}/fs`).at(-1);
    // Below a committed snapshot it is used by nobody, and not looked after.
    const isUsed = states.some(
      (state) =>
        /^(active|view)$/.test(state.status) &&
        clonesUnder(ROOT, witness.truth.forest, state).has(mountpoint),
    );
    // A mount that vanished is noticed at the next use of its layer, which then renews the clone.
    if (isUsed && shows !== 0 && layer !== undefined && layer.mountId !== shows) {
      this.#host.break(`${mountpoint} shows an earlier mount of layer ${id}`);
    }
  }

  /** A call that was refused, or given up, has left nothing behind. */
  leftNothing(tag: string): void {
    for (const { stream, type } of this.#host.witness.eventsOf(tag)) {
      if (type !== 'SnapshotPreparing') continue;
      const id = Number(stream.slice('snapshot-'.length)) as SnapshotId;
      const state = this.#host.witness.truth.forest.get(id);
      const after = this.#host.witness.eventsAbout(id).map((event) => event.type);
      // Whoever guessed the key may have committed it before it was taken back.
      if (after.includes('SnapshotCommitting')) continue;
      if (state !== undefined && SHOWN.test(state.status) && state.remote === null) {
        this.#host.break(`snapshot ${id} of ${tag}, which had no answer, is ${state.status}`);
      }
    }
  }

  #wrongReply(tag: string, call: Call, outcome: Outcome, written: Written | null): string | null {
    const events = this.#host.witness.eventsOf(tag);
    if (outcome.kind === 'threw') return null;
    if (outcome.kind === 'refused') return this.#wrongRefusal(call, outcome, events);
    switch (call.kind) {
      case 'Prepare':
      case 'View':
        return this.#wrongPrepared(call, outcome, events);
      case 'Commit':
        return this.#wrongCommit(call, events, written);
      case 'Remove':
        return events.some(({ type }) => type === 'SnapshotRemoving')
          ? null
          : 'acknowledged, and SnapshotRemoving is not durable';
      case 'Update': {
        const event = events.find(({ type }) => type === 'LabelsUpdated');
        if (event === undefined) return 'acknowledged, and LabelsUpdated is not durable';
        const told = outcome.reply.what === 'info' ? outcome.reply.info.labels : new Map();
        const logged = new Map(Object.entries(event.data['labels'] as Record<string, string>));
        const shown = new Map([...told].filter(([key]) => key !== REMOTE_LABEL));
        return labelsText(shown) === labelsText(logged) ? null : 'told other labels than logged';
      }
      case 'Stat':
      case 'Mounts':
      case 'Usage':
      case 'List':
      case 'Cleanup':
        return null;
    }
  }

  #wrongRefusal(
    call: Call,
    { refusal }: Extract<Outcome, { kind: 'refused' }>,
    events: readonly LogRecord[],
  ): string | null {
    if (refusal.name === 'TargetReady' && call.kind === 'Prepare') {
      const ref = call.labels.get(TARGET_LABEL);
      const ready = [...this.#host.witness.truth.forest.values()].some(
        ({ remote, parent, status }) =>
          remote?.ref === ref &&
          (parent?.name ?? null) === call.parent &&
          status.startsWith('committed'),
      );
      const isRemoved = this.#host.witness.records.some(
        ({ type, data }) => type === 'SnapshotCommitted' && isRemoteOf(data, ref, call.parent),
      );
      return ready || isRemoved ? null : 'told of a target that is not committed durably';
    }
    const isPreparation = call.kind === 'Prepare' || call.kind === 'View';
    if (isPreparation || events.length === 0) return null;
    return `refused with ${refusal.name}, and yet in the log: ${events[0]?.type}`;
  }

  #wrongPrepared(
    call: CallOf<'Prepare' | 'View'>,
    outcome: Extract<Outcome, { kind: 'ok' }>,
    events: readonly LogRecord[],
  ): string | null {
    const begun = events.findLast(({ type }) => type === 'SnapshotPreparing');
    if (begun === undefined) return 'acknowledged, and SnapshotPreparing is not durable';
    const id = Number(begun.data['id']);
    const { data } = begun;
    const parent = data['parent'] as { readonly id: number; readonly name: string } | null;
    const labels = new Map(Object.entries(data['labels'] as Record<string, string>));
    if (data['key'] !== call.key || (parent?.name ?? null) !== call.parent) {
      return 'another key or parent stands in the log';
    }
    if (labelsText(labels) !== labelsText(storedLabels(call.labels))) {
      return 'other labels stand in the log';
    }
    const life = this.#host.witness.eventsAbout(id).map(({ type }) => type);
    const isReady = life.includes('SnapshotPrepared') || life.includes('RemoteMountFailed');
    if (!isReady) return `acknowledged, and the log has only ${life.join(', ')}`;
    const isGone = life.some((type) => /Removing|Abandoned|Committing/.test(type));
    if (isGone || outcome.reply.what !== 'mounts') return null;
    return this.#wrongMounts(id, outcome.reply.mounts) ?? this.#wrongDirectory(id);
  }

  /** Every remote layer below is checked each time it is used. */
  #unchecked(call: Call, outcome: Outcome, since: number): string | null {
    if (outcome.kind !== 'ok' || outcome.reply.what !== 'mounts') return null;
    const key = 'key' in call ? call.key : 'name' in call ? call.name : '';
    const { forest } = this.#host.witness.truth;
    const state = forest.holderOf(snapshotName(key));
    const below = state?.name === key ? forest.ancestorsOf(state) : [];
    const unchecked = below.find(
      ({ id, remote }) =>
        remote !== null &&
        this.#host.checkedAt(`${this.#host.tree.path}/${id}/fs`) < since - SHARED_MILLIS,
    );
    if (unchecked !== undefined) return `layer ${unchecked.id} below was not checked`;
    const clones = state?.name === key ? [...clonesUnder(ROOT, forest, state)] : [];
    const unseen = clones.find((clone) => this.#host.checkedAt(clone) < since - SHARED_MILLIS);
    return unseen === undefined ? null : `${unseen} was not looked at`;
  }

  #wrongMounts(id: number, mounts: readonly MountSpec[]): string | null {
    const { witness, tree } = this.#host;
    const state = witness.truth.forest.get(id as SnapshotId);
    if (state === undefined) return null;
    const lowers = witness.truth.forest.ancestorsOf(state).map((at) => lowerOf(ROOT, state, at));
    const own = `${tree.path}/${id}/fs`;
    const options = mounts[0]?.options ?? [];
    const isShown = (option: string) => options.includes(option);
    const isView = state.preparedAs === 'view';
    const expected =
      lowers.length === 0 || (isView && lowers.length === 1)
        ? mounts[0]?.source === (lowers[0] ?? own) && isShown(isView ? 'ro' : 'rw')
        : isShown(`lowerdir=${lowers.join(':')}`) && isShown(`upperdir=${own}`) === !isView;
    return expected ? null : `the mounts are wrong: ${JSON.stringify(mounts)}`;
  }

  /** What a client is given is empty, and nothing lies over it. */
  #wrongDirectory(id: number): string | null {
    const { tree, mounts } = this.#host;
    const entry = tree.get(String(id));
    if (entry?.hasFs !== true) return `directory ${id} does not stand`;
    if (entry.content !== '') return `directory ${id} is not empty: ${entry.content}`;
    const wanted = this.#ownerOf(id);
    if (JSON.stringify(entry.owner) !== JSON.stringify(wanted)) {
      return `directory ${id} belongs to ${entry.owner.uid}:${entry.owner.gid}`;
    }
    return mounts.isAtOrBelow(`${tree.path}/${id}`) ? `something is mounted on ${id}` : null;
  }

  /** The root of the user namespace, else the owner of the layer below. */
  #ownerOf(id: number): FileOwner {
    const state = this.#host.witness.truth.forest.get(id as SnapshotId);
    const uids = state?.idMapping?.uids;
    if (uids !== undefined) return { uid: Number(uids.split(':')[1]), gid: 0 };
    const parent = state?.parent ?? null;
    const below = parent === null ? undefined : this.#host.witness.truth.forest.get(parent.id);
    const isOrdinary = below !== undefined && below.remote === null;
    const directory = isOrdinary ? this.#host.tree.get(String(below.id)) : undefined;
    return directory?.owner ?? { uid: 0, gid: 0 };
  }

  #wrongCommit(
    call: CallOf<'Commit'>,
    events: readonly LogRecord[],
    written: Written | null,
  ): string | null {
    const begun = events.find(({ type }) => type === 'SnapshotCommitting');
    if (begun === undefined) return 'acknowledged, and SnapshotCommitting is not durable';
    const id = Number(begun.stream.slice('snapshot-'.length));
    const committed = this.#host.witness
      .eventsAbout(id)
      .find(({ type, position: at }) => type === 'SnapshotCommitted' && at > begun.position);
    if (committed === undefined) return 'acknowledged, and SnapshotCommitted is not durable';
    if (committed.data['name'] !== call.name) return 'another name stands in the log';
    if (this.#host.settings.durability === 'metadata') return null;
    const isThere = this.#host.witness.truth.forest.get(id as SnapshotId)?.status;
    if (isThere?.startsWith('committed') !== true) return null;
    // The name may have been another snapshot's, on its way out, when the client wrote.
    if (written?.id !== id) return null;
    const { content } = written;
    const durable = this.#host.tree.durableContent(id);
    if (durable !== content) return `"${content}" was written, and "${durable}" is durable`;
    this.#contents.set(id, content);
    return null;
  }

  /** The forest is one: parents are there and committed, no cycles, names and targets unique. */
  #forest(): void {
    const { forest } = this.#host.witness.truth;
    const names = new Set<string>();
    const targets = new Set<string>();
    for (const state of forest.values()) {
      const isOut = /^(removing|awaitingCleanup)$/.test(state.status);
      if (isOut) continue;
      if (names.has(state.name)) this.#host.break(`two snapshots are called ${state.name}`);
      names.add(state.name);
      let steps = 0;
      for (let at: SnapshotState = state; at.parent !== null; steps += 1) {
        const parent = forest.get(at.parent.id);
        const isCommitted = parent?.status.startsWith('committed') === true;
        if (!isCommitted)
          this.#host.break(`${at.id} stands on ${at.parent.id}, which is not there`);
        if (steps > forest.size) this.#host.break(`${state.id} is its own ancestor`);
        if (parent === undefined || !isCommitted || steps > forest.size) return;
        at = parent;
      }
      if (state.remote === null || state.status === 'active') continue;
      const target = `${state.remote.ref} on ${state.parent?.id ?? 'nothing'}`;
      if (targets.has(target)) this.#host.break(`two remote snapshots stand for ${target}`);
      targets.add(target);
    }
  }

  #atRest({ id, status, remote }: SnapshotState): void {
    const { tree, mounts } = this.#host;
    const entry = tree.get(String(id));
    const mountpoint = `${tree.path}/${id}/fs`;
    const isShown = SHOWN.test(status) && status !== 'committed.unavailable';
    const isMissing = isShown && entry?.hasFs !== true;
    if (isMissing && !this.#host.mayHaveLostDirectories)
      this.#host.break(`the directory of ${id} is missing`);
    if (remote !== null && status === 'committed.available') return;
    if (remote === null && mounts.isAtOrBelow(mountpoint)) {
      this.#host.break(`something is mounted on ${id}, which is not remote`);
    }
  }
}

/** All that a forest holds, a line each. */
function textsOf(forest: Forest): readonly string[] {
  return [
    ...forest.cut().lines(),
    `next id ${forest.nextId}, checked to ${forest.checkedTo}`,
    ...[...forest.preallocated].map((id) => `preallocated ${id}`),
    ...[...forest.setAside].map(([name, why]) => `set aside ${name}: ${JSON.stringify(why)}`),
    ...[...forest.released].map((name) => `released ${name}`),
  ];
}

/** How a snapshot must be shown; written here a second time, from containerd's own words. */
function infoOf(state: SnapshotState): SnapshotInfo {
  const isRemote = state.remote !== null && state.status.startsWith('committed');
  const labels = new Map(state.labels);
  if (isRemote) labels.set(REMOTE_LABEL, 'remote snapshot');
  const kind = state.status.startsWith('committed')
    ? 'committed'
    : state.status === 'view'
      ? 'view'
      : 'active';
  const { name, createdAt, updatedAt } = state;
  return { name, parent: state.parent?.name ?? '', kind, labels, createdAt, updatedAt };
}

export function textOfInfo(info: SnapshotInfo): string {
  const { name, parent, kind, labels, createdAt, updatedAt } = info;
  return `${kind} ${name} on "${parent}" {${labelsText(labels)}} ${createdAt} ${updatedAt}`;
}

function isRemoteOf(
  data: LogRecord['data'],
  ref: string | undefined,
  parent: string | null,
): boolean {
  const remote = data['remote'] as { readonly ref: string } | null;
  const below = data['parent'] as { readonly name: string } | null;
  return remote?.ref === ref && (below?.name ?? null) === parent;
}
