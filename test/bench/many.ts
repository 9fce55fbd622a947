/**
 * What many snapshots cost: the time of List, the memory of a daemon at rest that has served it
 * once, and the time of a start, from a checkpoint and by replay of ten events a snapshot.
 */
import { rename } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { run } from '../../scripts/rig/command.js';
import { Daemon } from '../../scripts/rig/daemon.js';
import type { Workspace } from '../../scripts/rig/workspace.js';
import {
  addressOfTimed,
  inTurns,
  inWorkspace,
  say,
  startTimed,
  type Programs,
  type TimedStart,
} from './candidates.js';
import { populatePeer, populateStratalog, writeLayers } from './populate.js';
import { memoryOf, processorMicros } from './process.js';
import { rowOf, type Row } from './report.js';

export interface ManyOptions {
  readonly turns: number;
  readonly list: boolean;
  readonly memory: boolean;
  readonly start: boolean;
  readonly sizes: readonly number[];
}

const listSchema = z.object({ snapshots: z.number(), millis: z.array(z.number()).nonempty() });
const listsOfATurn = 3;
/** Garbage of the start and of List is given back within this time, or not at all. */
const settleMillis = 15_000;
const eventsOfASnapshot = 10;

const peerName = 'overlayfs';
const ownName = 'stratalog metadata';

/** Promised, by number of snapshots. */
const residentMax: Readonly<Record<number, string>> = { 10_000: '150', 100_000: '400' };
const checkpointMax: Readonly<Record<number, string>> = { 100_000: '1000' };
const replayMax: Readonly<Record<number, string>> = { 100_000: '8000' };

export async function measureMany(
  programs: Programs,
  options: ManyOptions,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const snapshots of options.sizes) {
    rows.push(
      ...(await inWorkspace((workspace) => measureOne(workspace, programs, options, snapshots))),
    );
  }
  return rows;
}

interface Roots {
  readonly workspace: Workspace;
  readonly programs: Programs;
  readonly own: { readonly root: string; readonly command: readonly [string, ...string[]] };
  readonly peer: { readonly root: string; readonly command: readonly [string, ...string[]] };
}

async function measureOne(
  workspace: Workspace,
  programs: Programs,
  options: ManyOptions,
  snapshots: number,
): Promise<readonly Row[]> {
  say(`making ${snapshots} snapshots`);
  const file = workspace.path('layers');
  const own = Daemon.stratalog(workspace, { config: 'durability = "metadata"\n' }, 'own');
  const peer = Daemon.peer(workspace, programs.peer);
  await writeLayers(file, snapshots);
  await populatePeer(programs.peer, peer.root, file);
  const events = snapshots * eventsOfASnapshot;
  await populateStratalog(own.root, { snapshots, events, directories: true });
  await run('sync', []);
  const roots: Roots = {
    workspace,
    programs,
    own: { root: own.root, command: own.serveCommand },
    peer: { root: peer.root, command: peer.serveCommand },
  };
  return [
    ...(options.list || options.memory ? await measureListing(roots, options, snapshots) : []),
    ...(options.start ? await measureStarts(roots, options.turns, snapshots) : []),
  ];
}

interface Listing {
  readonly list: number;
  readonly processor: number;
  readonly resident: number;
  readonly peak: number;
}

async function measureListing(
  roots: Roots,
  options: ManyOptions,
  snapshots: number,
): Promise<readonly Row[]> {
  const measured = await inTurns(options.turns, [peerName, ownName], async (name, turn) => {
    say(`List of ${snapshots}, turn ${turn}: ${name}`);
    const { root, command } = name === peerName ? roots.peer : roots.own;
    const started = await startTimed(roots.workspace, command, root);
    try {
      return await listingOf(roots, started, snapshots, options.memory);
    } finally {
      await started.kill();
    }
  });
  const numbers = (read: (listing: Listing) => number) =>
    new Map([...measured].map(([name, listings]) => [name, listings.map(read)]));
  const of = `of ${snapshots} snapshots`;
  const listRows = [
    rowOf(
      `List ${of}, ms`,
      numbers(({ list }) => list),
      '≤ 1.0',
    ),
    rowOf(
      `List ${of}, processor ms`,
      numbers(({ processor }) => processor),
    ),
  ];
  const memoryRows = [
    rowOf(
      `resident MiB ${of}`,
      numbers(({ resident }) => resident),
      residentMax[snapshots] ?? null,
    ),
    rowOf(
      `peak MiB ${of}`,
      numbers(({ peak }) => peak),
    ),
  ];
  return [...(options.list ? listRows : []), ...(options.memory ? memoryRows : [])];
}

async function listingOf(
  { workspace, programs }: Roots,
  { pid }: TimedStart,
  snapshots: number,
  settles: boolean,
): Promise<Listing> {
  // What goes on behind a start is not List's.
  await atRest(pid);
  const before = await processorMicros(pid);
  const { stdout } = await run(programs.load, [
    ...['-address', addressOfTimed(workspace)],
    ...['-list', String(listsOfATurn)],
  ]);
  const spent = (await processorMicros(pid)) - before;
  const listed = listSchema.parse(JSON.parse(stdout));
  if (listed.snapshots !== snapshots) throw new Error(`${listed.snapshots} snapshots are listed`);
  if (settles) await sleep(settleMillis);
  const { resident, peak } = await memoryOf(pid);
  const pluralize = listed.millis.slice(1).sort((a, b) => a - b);
  return {
    list: pluralize[Math.floor(pluralize.length / 2)] ?? NaN,
    processor: spent / 1000 / listed.millis.length,
    resident,
    peak,
  };
}

/** Resolves once the process has used no processor time for a while. */
async function atRest(pid: number): Promise<void> {
  const deadline = performance.now() + settleMillis;
  for (let used = -1; performance.now() < deadline;) {
    const now = await processorMicros(pid);
    if (now === used) return;
    used = now;
    await sleep(500);
  }
}

async function measureStarts(
  { workspace, own }: Roots,
  turns: number,
  snapshots: number,
): Promise<readonly Row[]> {
  const measured = await inTurns(turns, ['checkpoint', 'replay'], async (how, turn) => {
    say(`start with ${snapshots}, turn ${turn}: ${how}`);
    const aside = how === 'replay' ? await setCheckpointsAside(own.root) : null;
    try {
      const started = await startTimed(workspace, own.command, own.root);
      const processor = (await processorMicros(started.pid)) / 1000;
      await started.kill();
      return { millis: started.millis, processor };
    } finally {
      await aside?.();
    }
  });
  const row = (what: string, how: string, read: 'millis' | 'processor', limit?: string) =>
    rowOf(
      `start, ${snapshots} snapshots, ${what}`,
      new Map([[ownName, (measured.get(how) ?? []).map((one) => one[read])]]),
      limit ?? null,
    );
  const replayed = `replay of ${snapshots * eventsOfASnapshot} events`;
  return [
    row('checkpoint, ms', 'checkpoint', 'millis', checkpointMax[snapshots]),
    row('checkpoint, processor ms', 'checkpoint', 'processor'),
    row(`${replayed}, ms`, 'replay', 'millis', replayMax[snapshots]),
    row(`${replayed}, processor ms`, 'replay', 'processor'),
  ];
}

/** Answers how to bring them back. */
async function setCheckpointsAside(root: string): Promise<() => Promise<void>> {
  const names = readdirSync(`${root}/log`).filter((name) => name.endsWith('.checkpoint'));
  for (const name of names) await rename(`${root}/log/${name}`, `${root}/${name}`);
  return async () => {
    for (const name of names) await rename(`${root}/${name}`, `${root}/log/${name}`);
  };
}
