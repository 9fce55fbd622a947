/**
 * Looks at a daemon and its root, and says how they differ from what the oracle knows. Each
 * difference is one line of text for a person; no line means none.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { mountsWithin } from '../../scripts/rig/mounts.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { snapshotId } from '../../src/base/units.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import { metaOf } from '../../src/machines/transition-table.js';
import type { Answer, SnapshotInfo, SnapshotsClient } from './client.js';
import { differences, idOf, labelsText, type Oracle, writableDirectory } from './oracle.js';

/** Snapshots by name, as List tells them; a name that comes twice is a difference already. */
export async function present(
  client: SnapshotsClient,
): Promise<{ readonly infos: ReadonlyMap<string, SnapshotInfo>; readonly doubles: string[] }> {
  const infos = new Map<string, SnapshotInfo>();
  const doubles: string[] = [];
  for (const info of await client.list()) {
    if (infos.has(info.name)) doubles.push(`${info.name} is listed twice`);
    infos.set(info.name, info);
  }
  return { infos, doubles };
}

/** List against the oracle, both ways. */
export function compareList(oracle: Oracle, infos: ReadonlyMap<string, SnapshotInfo>): string[] {
  const found: string[] = [];
  for (const entry of oracle.entries.values()) {
    const info = infos.get(entry.name);
    if (info === undefined) found.push(`${entry.name}: acknowledged as ${entry.kind}, is gone`);
    else found.push(...differences(entry, info));
  }
  for (const { name, kind, parent } of infos.values()) {
    if (!oracle.entries.has(name)) found.push(`${name}: ${kind} and listed, but it must not be`);
    if (parent !== '' && infos.get(parent)?.kind !== 'committed') {
      found.push(`${name}: its parent ${parent} is no committed snapshot`);
    }
  }
  return found;
}

/** Stat, Mounts, Usage and what was written, snapshot by snapshot. The oracle learns what is new. */
export async function compareEach(
  oracle: Oracle,
  client: SnapshotsClient,
  infos: ReadonlyMap<string, SnapshotInfo>,
): Promise<string[]> {
  const found: string[] = [];
  await Promise.all(
    [...infos.values()].map(async (info) => {
      const entry = oracle.entries.get(info.name);
      if (entry === undefined) return;
      const { name } = info;
      const take = <Value>(what: string, answer: Answer<Value>): Value | null => {
        if (answer.kind === 'answered') return answer.value;
        found.push(`${name}: ${what}: ${answer.message}`);
        return null;
      };
      const stat = take('stat', await client.stat(name));
      if (stat !== null && infoText(stat) !== infoText(info)) {
        found.push(`${name}: list says ${infoText(info)}, stat ${infoText(stat)}`);
      }
      const usage = take('usage', await client.usage(name));
      const mounts = info.kind === 'committed' ? null : take('mounts', await client.mounts(name));
      if (entry.mounts !== null && mounts !== null && mounts !== entry.mounts) {
        found.push(`${name}: mounts ${entry.mounts} became ${mounts}`);
      }
      if (entry.usage !== null && usage !== null && usage !== entry.usage) {
        found.push(`${name}: usage ${entry.usage} became ${usage}`);
      }
      const own = info.kind === 'active' && mounts !== null ? writableDirectory(mounts) : null;
      oracle.put({ ...entry, mounts, usage, fs: entry.fs ?? own });
      oracle.learn(info);
      found.push(...compareMark(name, entry.fs, entry.mark));
    }),
  );
  return found;
}

function compareMark(name: string, fs: string | null, mark: string | null): string[] {
  if (fs === null || mark === null) return [];
  const path = join(fs, 'mark');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : 'nothing';
  return text === mark ? [] : [`${name}: ${path} held ${mark}, now ${text}`];
}

/**
 * Directories and mounts below the root, each of which must have an owner. Reads the log beside
 * the daemon for the numbers of snapshots, which containerd's API does not tell.
 */
export async function compareDisk(
  root: string,
  oracle: Oracle,
  infos: ReadonlyMap<string, SnapshotInfo>,
): Promise<string[]> {
  const found: string[] = [];
  const { replay } = await replayRoot(systemDisk(), root);
  const owned = new Set<string>();
  const layers = new Set<string>();
  for (const { id, name, status, remote } of replay.forest.values()) {
    if (metaOf(status).shownAs === null) {
      found.push(`snapshot ${id} ${name} is still ${status}`);
      continue;
    }
    owned.add(String(id));
    if (!infos.has(name)) found.push(`snapshot ${id} ${name} is in the log, but not listed`);
    if (remote !== null) layers.add(join(root, 'snapshots', String(id), 'fs'));
    if (status === 'committed.unavailable') found.push(`layer ${id} ${name} is unavailable`);
  }
  if (owned.size !== infos.size) {
    found.push(`${infos.size} snapshots are listed, the log has ${owned.size}`);
  }
  for (const { name, fs } of oracle.entries.values()) {
    if (fs !== null && !owned.has(idOf(fs))) found.push(`${name}: ${fs} is not its directory now`);
  }
  const directories = new Set(readdirSync(join(root, 'snapshots')));
  for (const id of owned) if (!directories.has(id)) found.push(`snapshot ${id} has no directory`);
  for (const name of directories) {
    // Made ahead since the start, for nobody yet: the log owns it.
    if (replay.forest.isPreallocated(snapshotId(Number(name)))) continue;
    if (!owned.has(name)) found.push(`directory snapshots/${name} has no owner`);
  }
  const mounts = mountsWithin(root);
  for (const path of layers) {
    const times = mounts.filter((mountpoint) => mountpoint === path).length;
    if (times !== 1) found.push(`${path} is mounted ${times} times`);
  }
  for (const path of mounts) if (!layers.has(path)) found.push(`mount ${path} has no owner`);
  return found;
}

/** Everything that verifying the log finds, but for what is only information. */
export async function verifiedLog(root: string): Promise<string[]> {
  const found: string[] = [];
  for await (const item of verifyLog({ root, disk: systemDisk() })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    found.push(`log: ${item.kind} at position ${item.position}: ${item.detail}`);
  }
  return found;
}

/** All that List tells, as one text that can be compared. */
export const listText = (infos: ReadonlyMap<string, SnapshotInfo>): string =>
  [...infos.values()].map(infoText).sort().join('\n');

function infoText({ name, parent, kind, labels, created, updated }: SnapshotInfo): string {
  return `${name} ${kind} on "${parent}" ${labelsText(labels)} ${created} ${updated}`;
}
