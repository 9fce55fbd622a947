/** What stands on a machine: read from its log and its directories, without a service. */
import * as fs from 'node:fs';
import type { SnapshotState } from '../../../src/machines/fold.js';
import type { Forest } from '../../../src/machines/snapshots/forest.js';
import { replayRoot } from '../../../src/inspect/archive/replay-root.js';
import { metaOf } from '../../../src/machines/transition-table.js';
import { infoOf, type SnapshotInfo } from '../../../src/machines/snapshots/info.js';
import type { Machine } from './machine.js';

export interface Observed {
  readonly id: number;
  readonly kind: SnapshotInfo['kind'];
  readonly isRemote: boolean;
  /** As a client is told it, times and all. */
  readonly info: string;
  /** The same without what another try would change. */
  readonly look: string;
  /** Frozen at Commit. */
  readonly usage: string;
  readonly files: string;
}

export async function forestOf(machine: Machine): Promise<Forest> {
  return (await replayRoot(machine.disk, machine.root)).replay.forest;
}

export async function statesOf(machine: Machine): Promise<readonly SnapshotState[]> {
  return [...(await forestOf(machine)).values()];
}

/** Ids whose directories were made ahead, as the log says. */
export async function preallocatedOf(machine: Machine): Promise<readonly number[]> {
  const { replay } = await replayRoot(machine.disk, machine.root);
  return [...replay.forest.preallocated];
}

/** The snapshots that clients see, by name. */
export async function observe(machine: Machine): Promise<ReadonlyMap<string, Observed>> {
  const observed = new Map<string, Observed>();
  for (const state of await statesOf(machine)) {
    const kind = metaOf(state.status).shownAs;
    if (kind === null) continue;
    const info = infoOf(state);
    observed.set(state.name, {
      id: state.id,
      kind,
      isRemote: state.remote !== null,
      info: textOf(info),
      look: `${kind} on "${info.parent}" ${labelsOf(info)}`,
      usage: JSON.stringify(state.usage),
      files: filesIn(`${machine.snapshots}/${state.id}/fs`),
    });
  }
  return observed;
}

export function textOf(info: SnapshotInfo): string {
  const { name, kind, parent, createdAt, updatedAt } = info;
  return `${name} ${kind} on "${parent}" ${labelsOf(info)} ${createdAt} ${updatedAt}`;
}

const labelsOf = ({ labels }: SnapshotInfo): string => JSON.stringify([...labels].sort());

function filesIn(directory: string): string {
  if (!fs.existsSync(directory)) return 'no directory';
  const names = fs.readdirSync(directory).sort();
  return JSON.stringify(
    names.map((name) => [name, fs.readFileSync(`${directory}/${name}`, 'utf8')]),
  );
}
