/**
 * What clients ask: the calls, how each is drawn, and how it is made. Names come from small sets,
 * so that clients meet.
 */
import { snapshotName, type Labels, type Usage } from '../../src/base/units.js';
import type { Caller } from '../../src/machines/events/events.js';
import type { SnapshotInfo } from '../../src/machines/snapshots/info.js';
import { TARGET_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import type { Refusal } from '../../src/machines/refusals.js';
import type { MountSpec } from '../../src/snapshotter/mounts.js';
import type { Snapshotter } from '../../src/snapshotter/snapshotter.js';
import type { Random } from '../support/random.js';
import { REFS } from './sim-host.js';

export const KEYS = ['k0', 'k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'k7'] as const;
export const NAMES = ['n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7'] as const;

const MAPS = ['0:100000:65536', '0:200000:65536'] as const;

export type Call =
  | {
      readonly kind: 'Prepare' | 'View';
      readonly key: string;
      readonly parent: string | null;
      readonly labels: Labels;
    }
  | {
      readonly kind: 'Commit';
      readonly key: string;
      readonly name: string;
      readonly labels: Labels;
    }
  | { readonly kind: 'Remove'; readonly name: string }
  | {
      readonly kind: 'Update';
      readonly name: string;
      readonly labels: Labels;
      readonly paths: readonly string[];
    }
  | { readonly kind: 'Stat' | 'Mounts' | 'Usage'; readonly name: string }
  | { readonly kind: 'List'; readonly filters: readonly string[] }
  | { readonly kind: 'Cleanup' };

export type CallOf<Kind extends Call['kind']> = Extract<Call, { readonly kind: Kind }>;

export type Reply =
  | { readonly what: 'mounts'; readonly mounts: readonly MountSpec[] }
  | { readonly what: 'info'; readonly info: SnapshotInfo }
  | { readonly what: 'infos'; readonly infos: Iterator<SnapshotInfo> }
  | { readonly what: 'usage'; readonly usage: Usage }
  | { readonly what: 'done' };

export type Outcome =
  | { readonly kind: 'ok'; readonly reply: Reply }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'threw'; readonly fault: Error };

const WEIGHTS = {
  Prepare: 10,
  PrepareRemote: 8,
  View: 4,
  Commit: 10,
  Remove: 8,
  Update: 5,
  Stat: 2,
  Mounts: 5,
  Usage: 3,
  List: 3,
  Cleanup: 1,
} as const;

/** `shown` is what List shows: most calls are about something that is there. */
export function drawCall(random: Random, shown: readonly SnapshotInfo[]): Call {
  const kind = random.weighted(WEIGHTS);
  const of = (wanted: readonly SnapshotInfo['kind'][], others: readonly string[]): string => {
    const there = shown.flatMap((info) => (wanted.includes(info.kind) ? [info.name] : []));
    return random.pick(there.length > 0 && random.chance(0.75) ? there : others);
  };
  const anyName = () => of(['active', 'view', 'committed'], [...KEYS, ...NAMES]);
  const parent = () => (random.chance(0.3) ? null : of(['committed'], NAMES));
  switch (kind) {
    case 'Prepare':
    case 'View':
      return { kind, key: random.pick(KEYS), parent: parent(), labels: drawOwnLabels(random) };
    case 'PrepareRemote': {
      const labels = new Map(drawLabels(random)).set(TARGET_LABEL, random.pick(REFS));
      return { kind: 'Prepare', key: random.pick(KEYS), parent: parent(), labels };
    }
    case 'Commit': {
      const key = of(['active'], KEYS);
      return { kind, key, name: random.pick(NAMES), labels: drawLabels(random) };
    }
    case 'Update': {
      const paths = random.pick([[], ['labels'], ['labels.a'], ['labels.b']]);
      return { kind, name: anyName(), labels: drawLabels(random), paths };
    }
    case 'List': {
      const filters = random.chance(0.5) ? [] : [`labels."${TARGET_LABEL}"==${random.pick(REFS)}`];
      return { kind, filters };
    }
    case 'Cleanup':
      return { kind };
    case 'Mounts':
      return { kind, name: of(['active', 'view'], [...KEYS, ...NAMES]) };
    case 'Remove':
    case 'Stat':
    case 'Usage':
      return { kind, name: anyName() };
  }
}

function drawLabels(random: Random): Labels {
  const labels = new Map<string, string>();
  if (random.chance(0.5)) labels.set('a', String(random.between(0, 99)));
  // Long enough that a record spans sectors.
  if (random.chance(0.2)) labels.set('b', 'b'.repeat(random.between(1, 1500)));
  return labels;
}

/** Of a container, which may have a user namespace. */
function drawOwnLabels(random: Random): Labels {
  const labels = new Map(drawLabels(random));
  if (random.chance(0.3)) labels.set(UID_MAPPING_LABEL, random.pick(MAPS));
  return labels;
}

/** Makes the call. `tag` goes with it as the client's trace, and so into the log. */
export async function make(
  snapshotter: Snapshotter,
  call: Call,
  { client, tag }: { readonly client: Caller; readonly tag: string },
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    return await ask(snapshotter, call, { ...client, traceparent: tag }, signal);
  } catch (thrown) {
    return { kind: 'threw', fault: thrown instanceof Error ? thrown : new Error(String(thrown)) };
  }
}

type Answer<Value> =
  { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly refusal: Refusal };

function outcomeOf<Value>(answer: Answer<Value>, toReply: (value: Value) => Reply): Outcome {
  if (!answer.ok) return { kind: 'refused', refusal: answer.refusal };
  return { kind: 'ok', reply: toReply(answer.value) };
}

const done = (): Reply => ({ what: 'done' });
const mountsReply = (mounts: readonly MountSpec[]): Reply => ({ what: 'mounts', mounts });
const infoReply = (info: SnapshotInfo): Reply => ({ what: 'info', info });

async function ask(
  snapshotter: Snapshotter,
  call: Call,
  caller: Caller,
  signal: AbortSignal,
): Promise<Outcome> {
  switch (call.kind) {
    case 'Prepare':
    case 'View': {
      const parent = call.parent === null ? null : snapshotName(call.parent);
      const request = { key: snapshotName(call.key), parent, labels: call.labels, caller };
      const answer =
        call.kind === 'View'
          ? await snapshotter.view(request, signal)
          : await snapshotter.prepare(request, signal);
      return outcomeOf(answer, mountsReply);
    }
    case 'Commit': {
      const names = { key: snapshotName(call.key), name: snapshotName(call.name) };
      const request = { ...names, parent: null, labels: call.labels, caller };
      return outcomeOf(await snapshotter.commit(request, signal), done);
    }
    case 'Remove':
      return outcomeOf(await snapshotter.remove(snapshotName(call.name), caller), done);
    case 'Update': {
      const { labels, paths } = call;
      const request = { name: snapshotName(call.name), labels, paths, caller };
      return outcomeOf(await snapshotter.update(request), infoReply);
    }
    case 'Stat':
      return outcomeOf(snapshotter.stat(snapshotName(call.name)), infoReply);
    case 'Mounts':
      return outcomeOf(
        await snapshotter.mounts(snapshotName(call.name), caller, signal),
        mountsReply,
      );
    case 'Usage':
      return outcomeOf(await snapshotter.usage(snapshotName(call.name), signal), (usage) => ({
        what: 'usage',
        usage,
      }));
    case 'List':
      return outcomeOf(snapshotter.list(call.filters), (infos) => ({
        what: 'infos',
        infos: infos[Symbol.iterator](),
      }));
    case 'Cleanup':
      await snapshotter.cleanup(signal);
      return { kind: 'ok', reply: { what: 'done' } };
  }
}
