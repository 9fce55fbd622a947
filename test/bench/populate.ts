/**
 * Roots with many snapshots, made in seconds: the log is written by the log's own library onto a
 * disk that does not sync, the directories are plain mkdirs. The same snapshots go into the
 * peer's database by containerd's own storage package (go/peer.go, -populate).
 */
import { createWriteStream, mkdirSync } from 'node:fs';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Disk } from '../../src/base/ports.js';
import {
  position,
  snapshotId,
  snapshotName,
  streamVersion,
  type SnapshotId,
} from '../../src/base/units.js';
import { RELEASE } from '../../src/api/release.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { openLog } from '../../src/log/log.js';
import type { EventLog } from '../../src/log/types.js';
import {
  encodeSnapshotEvent,
  SNAPSHOT_EVENTS,
  type SnapshotEvent,
} from '../../src/machines/events/events.js';
import type { ParentLink } from '../../src/machines/events/events.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import { encodeHead, encodeState, headOf } from '../../src/machines/snapshots/state-json.js';
import { streamOf } from '../../src/machines/events/streams.js';
import { run } from '../../scripts/rig/command.js';

/** A committed layer as both snapshotters get it. */
export interface Layer {
  readonly name: string;
  /** Empty for a lowest layer. */
  readonly parent: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly size: number;
  readonly inodes: number;
}

const layersOfAnImage = 9;
/** The lowest layers of a distribution, which many images stand on. */
const sharedLayers = 3;
const imagesOnOneBase = 12;

/**
 * Layers of many images: chains of nine, the lowest three shared by twelve images; names and
 * labels as containerd's metadata store and the CRI give them to a snapshotter.
 */
function* layersOf(count: number): Generator<Layer> {
  let made = 0;
  let bases: string[] = [];
  for (let image = 0; made < count; image += 1) {
    const isNewBase = image % imagesOnOneBase === 0;
    if (isNewBase) bases = [];
    let parent = isNewBase ? '' : (bases.at(-1) ?? '');
    const first = isNewBase ? 0 : sharedLayers;
    for (let level = first; level < layersOfAnImage && made < count; level += 1) {
      made += 1;
      const layer = layer_(image, level, made, parent);
      if (level < sharedLayers) bases.push(layer.name);
      parent = layer.name;
      yield layer;
    }
  }
}

function layer_(image: number, level: number, made: number, parent: string): Layer {
  const chain = digest(`chain ${image} ${level}`);
  return {
    name: `k8s.io/${made}/${chain}`,
    parent,
    labels: {
      'containerd.io/snapshot.ref': chain,
      'containerd.io/snapshot/cri.layer-digest': digest(`layer ${image} ${level}`),
      'containerd.io/snapshot/cri.manifest-digest': digest(`manifest ${image}`),
      'containerd.io/snapshot/cri.image-ref': `images.example/team-${image % 40}/service-${image}:v1.${image % 100}`,
    },
    size: 4096 * (1 + (made % 5000)),
    inodes: 1 + (made % 700),
  };
}

const digest = (of: string): string => `sha256:${createHash('sha256').update(of).digest('hex')}`;

/** Writes the layers as JSON lines, for the peer to read. */
export async function writeLayers(file: string, count: number): Promise<void> {
  const out = createWriteStream(file);
  for (const layer of layersOf(count)) {
    if (!out.write(`${JSON.stringify(layer)}\n`)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
}

/** The peer's database with the same layers. Its directories are not made: no call asks for them. */
export async function populatePeer(peer: string, root: string, file: string): Promise<void> {
  await run(peer, ['-root', root, '-populate', file], { timeoutMillis: 600_000 });
}

export interface Population {
  /** Committed layers that are there in the end. */
  readonly snapshots: number;
  /**
   * Events of snapshots in all, or a few more; what the layers do not make is containers that came
   * and went, and layers of images that were pulled and removed.
   */
  readonly events: number;
  /** Whether the directories are made too: a start looks for them. */
  readonly directories: boolean;
  /** A checkpoint is kept for so many events; only the last one without it. */
  readonly checkpointEveryEvents?: number;
}

const caller = { namespace: 'k8s.io', lease: 'k8s.io/1/1700000000-abcd', pid: 812, uid: 0 };
/** Of five snapshots that came and went one was a layer, with the labels that a layer has. */
const passingOfOneLayer = 5;
const batchSnapshots = 512;

export interface Populated {
  /** Of what is there in the end. */
  readonly ids: readonly SnapshotId[];
  /** All ids below it were given out. */
  readonly nextId: SnapshotId;
}

/** A root of Stratalog, with a checkpoint at its end. */
export async function populateStratalog(root: string, query: Population): Promise<Populated> {
  mkdirSync(join(root, 'snapshots'), { recursive: true });
  // A root that has directories and no log would be refused: they are made afterwards.
  const every = query.checkpointEveryEvents ?? 0;
  const writer = await Populating.open(root, every);
  let passing = 0;
  let made = 0;
  for (const layer of layersOf(query.snapshots)) {
    made += 1;
    writer.layer(layer);
    // Spread evenly over the life of the log.
    for (; writer.events < (query.events * made) / query.snapshots; passing += 1) {
      if (passing % passingOfOneLayer === 0) writer.passingLayer(layer);
      else writer.container(layer.name);
    }
    if (made % batchSnapshots === 0) await writer.flush();
    if (every > 0) await writer.checkpointIfDue();
  }
  await writer.close();
  await rm(join(root, 'log', 'lock'), { force: true });
  const ids = writer.ids();
  if (query.directories) {
    for (const id of ids) {
      mkdirSync(join(root, 'snapshots', String(id)), 0o700);
      mkdirSync(join(root, 'snapshots', String(id), 'fs'), 0o755);
    }
  }
  return { ids, nextId: writer.nextId };
}

class Populating {
  readonly #forest = new Forest();
  #flushed: Promise<void> = Promise.resolve();

  #lastCheckpoint = 0;

  private constructor(
    private readonly log: EventLog,
    private readonly checkpointEvery: number,
  ) {}

  static async open(root: string, checkpointEvery: number): Promise<Populating> {
    const { log } = await openLog({
      root,
      disk: unsyncedDisk(),
      clock: systemClock(),
      uuid: () => crypto.randomUUID(),
      writtenBy: `stratalog ${RELEASE}`,
      historyCheckpointEveryEvents: checkpointEvery,
      onCheckpoint: () => Promise.reject(new Error('a new root has no checkpoint')),
      onRecords: () => undefined,
      onWarning: (message) => process.stderr.write(`bench: ${message}\n`),
    });
    return new Populating(log, checkpointEvery);
  }

  get events(): number {
    return this.log.nextPosition;
  }

  get nextId(): SnapshotId {
    return this.#forest.nextId;
  }

  ids(): readonly SnapshotId[] {
    return [...this.#forest.values()].map(({ id }) => id);
  }

  /** As the layer, but by another name, and it is removed again. */
  passingLayer(layer: Layer): void {
    const chain = digest(`passing ${this.#forest.nextId}`);
    const name = `k8s.io/${this.#forest.nextId}/${chain}`;
    this.#remove(this.layer({ ...layer, name, parent: layer.name }));
  }

  layer({ name, parent, labels, size, inodes }: Layer): SnapshotState {
    const id = this.#forest.nextId;
    const link = this.#link(parent);
    const key = `${name.slice(0, name.lastIndexOf('/'))}/extract-${id}-abcd ${name.slice(-71)}`;
    const given = new Map(Object.entries(labels));
    let state = this.#append(null, {
      type: 'SnapshotPreparing',
      data: {
        id,
        kind: 'active',
        key: snapshotName(key),
        parent: link,
        labels: given,
        remote: null,
        idMapping: null,
        caller,
      },
    });
    state = this.#append(state, { type: 'SnapshotPrepared', data: {} });
    const commit = { name: snapshotName(name), labels: given, parent: link };
    state = this.#append(state, { type: 'SnapshotCommitting', data: { ...commit, caller } });
    return this.#append(state, {
      type: 'SnapshotCommitted',
      data: {
        ...{ ...commit, usage: { size, inodes }, owner: { uid: 0, gid: 0 } },
        ...{ remote: null, durability: 'data' },
      },
    });
  }

  container(parent: string): void {
    const id = this.#forest.nextId;
    const key = snapshotName(`k8s.io/${id}/${digest(`container ${id}`).slice(7)}`);
    const state = this.#append(null, {
      type: 'SnapshotPreparing',
      data: {
        id,
        kind: 'active',
        key,
        parent: this.#link(parent),
        labels: new Map(),
        remote: null,
        idMapping: null,
        caller,
      },
    });
    this.#remove(this.#append(state, { type: 'SnapshotPrepared', data: {} }));
  }

  #remove(state: SnapshotState): void {
    const event = { type: 'SnapshotRemoving', data: { deferred: false, caller } } as const;
    this.#append(this.#append(state, event), { type: 'SnapshotRemoved', data: {} });
  }

  #link(parent: string): ParentLink | null {
    if (parent === '') return null;
    const name = snapshotName(parent);
    const holder = this.#forest.shown(name);
    if (holder === undefined) throw new Error(`${parent} was not made yet`);
    return { id: snapshotId(holder.id), name };
  }

  #append(state: SnapshotState | null, event: SnapshotEvent): SnapshotState {
    const { id } =
      event.type === 'SnapshotPreparing' ? event.data : (state ?? { id: NaN as SnapshotId });
    const version = streamVersion(state === null ? 0 : state.streamVersion + 1);
    const { records, durable } = this.log.append(
      [
        {
          stream: streamOf(id),
          expectedVersion: version,
          type: event.type,
          schemaVersion: SNAPSHOT_EVENTS[event.type].version,
          data: encodeSnapshotEvent(event),
          closesStream: event.type === 'SnapshotRemoved',
        },
      ],
      { sync: false },
    );
    this.#flushed = durable;
    const time = records[0]?.time;
    if (time === undefined) throw new Error('an append without a record');
    const next = fold(state, { event, time, streamVersion: version });
    this.#forest.put(next);
    return next;
  }

  async flush(): Promise<void> {
    // An empty stream of our own would stay in the log; waiting for the queue to be written is enough.
    if (this.log.durablePosition < this.log.nextPosition - 100_000) await this.#flushed;
    await new Promise((resolve) => setImmediate(resolve));
  }

  async checkpointIfDue(): Promise<void> {
    if (this.log.nextPosition - this.#lastCheckpoint < this.checkpointEvery) return;
    this.#lastCheckpoint = this.log.nextPosition;
    await this.log.flush();
    await this.#checkpoint(0);
  }

  async #checkpoint(daemonStreamVersion: number): Promise<void> {
    const head = headOf(this.#forest, daemonStreamVersion);
    const states = [...this.#forest.values()];
    await this.log.writeCheckpoint({
      position: position(this.log.durablePosition),
      lines: (function* () {
        yield encodeHead(head);
        for (const state of states) yield encodeState(state);
      })(),
    });
  }

  async close(): Promise<void> {
    const last = [...this.#forest.values()].at(-1);
    if (last === undefined) throw new Error('nothing was populated');
    const { durable } = this.log.append(
      [
        {
          stream: 'daemon',
          expectedVersion: streamVersion(0),
          type: 'DaemonStopped',
          schemaVersion: 1,
          data: { why: 'populated' },
        },
      ],
      { sync: true },
    );
    await durable;
    await this.#checkpoint(1);
    await this.log.close();
  }
}

/** The real disk without its waits: what is made here need not survive a power cut. */
function unsyncedDisk(): Disk {
  const disk = systemDisk();
  return {
    ...disk,
    syncDirectory: () => Promise.resolve(),
    open: async (path, mode) => {
      const file = await disk.open(path, mode);
      return {
        path,
        size: () => file.size(),
        read: (into, offset) => file.read(into, offset),
        write: (bytes, offset) => file.write(bytes, offset),
        writeDurably: (bytes, offset) => file.write(bytes, offset),
        sync: () => Promise.resolve(),
        truncate: (size) => file.truncate(size),
        close: () => file.close(),
      };
    },
  };
}
