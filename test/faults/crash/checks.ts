/**
 * What must hold on a machine whose service came back, each difference in a line for a person:
 * what was acknowledged is there; what was not is there as a whole or not at all; nothing is
 * without an owner; a second start changes nothing.
 */
import { existsSync, readdirSync } from 'node:fs';
import { relative } from 'node:path';
import { isOrdinary } from '../../../src/inspect/startup/findings.js';
import { readLog } from '../../../src/log/reader.js';
import { verifyLog } from '../../../src/log/verify/verify.js';
import { metaOf } from '../../../src/machines/transition-table.js';
import { neededClones } from '../../support/idmapped-needs.js';
import { Gate } from './gate.js';
import type { Machine } from './machine.js';
import { forestOf, observe, preallocatedOf, statesOf, textOf, type Observed } from './observed.js';
import { namesOf, Session, type CallRecord } from './session.js';

export type World = ReadonlyMap<string, Observed>;

/** What is known of the moment at which the service died. */
export interface Promised {
  /** Before the step in which it died, and after that step, as a run without a crash shows it. */
  readonly before: World;
  readonly after: World;
  readonly records: readonly CallRecord[];
  /** Content that nobody has committed need not outlive a power cut. */
  readonly powerWasCut: boolean;
}

/** Each call's names as they were before it or after it, as a whole; acknowledged: after it. */
export function comparePromised(promised: Promised, found: World): string[] {
  const { before, after, records, powerWasCut } = promised;
  const lines: string[] = [];
  const text = (observed: Observed | undefined): string => {
    if (observed === undefined) return 'nothing';
    const { id, info, usage, kind, files } = observed;
    const isKept = kind === 'committed' || !powerWasCut;
    return `${id} ${info} ${usage} ${isKept ? files : ''}`;
  };
  const agree = (names: readonly string[], world: World): boolean =>
    names.every((name) => text(world.get(name)) === text(found.get(name)));
  const touched = new Set<string>();
  for (const { call, answer } of records) {
    const names = namesOf(call);
    for (const name of names) touched.add(name);
    if (agree(names, after) || (answer === null && agree(names, before))) continue;
    const facts = names.map(
      (name) =>
        `${name}: was ${text(before.get(name))}, should become ${text(after.get(name))}, ` +
        `is ${text(found.get(name))}`,
    );
    const how = answer === null ? 'half done' : `acknowledged as "${answer}", but lost`;
    lines.push(`${call.call} is ${how}: ${facts.join('; ')}`);
  }
  for (const name of new Set([...before.keys(), ...found.keys()])) {
    if (touched.has(name) || text(before.get(name)) === text(found.get(name))) continue;
    lines.push(`${name}: was ${text(before.get(name))}, is ${text(found.get(name))}`);
  }
  return lines;
}

/** The service's own word against its log. */
export function compareService(session: Session, found: World): string[] {
  const listed = session.opened.snapshotter.list([]);
  if (!listed.ok) return [listed.refusal.message];
  const texts = [...listed.value].map(textOf).sort();
  const logged = [...found.values()].map(({ info }) => info).sort();
  const lines = session.process.faults.map((fault) => `it complains: ${fault}`);
  if (texts.join() !== logged.join())
    lines.push(`it lists ${texts.join()}, logged is ${logged.join()}`);
  return lines;
}

/** Directories and mounts, each of which must have an owner and be as its owner needs it. */
export async function compareOwners(machine: Machine): Promise<string[]> {
  const lines: string[] = [];
  const expected = new Set<string>();
  const mounted: string[] = [];
  const mountedMaybe: string[] = [];
  const listing = machine.listing();
  for (const { id, name, status, remote, preparedAs } of await statesOf(machine)) {
    if (status === 'removed') continue;
    const { shownAs } = metaOf(status);
    expected.add(String(id));
    if (shownAs === null && status !== 'awaitingCleanup') {
      lines.push(`snapshot ${id} ${name} is still ${status}`);
    }
    if (status === 'committed.unavailable') lines.push(`layer ${id} ${name} is unavailable`);
    if (remote !== null && shownAs === 'committed') mounted.push(`${id}/fs`);
    // Until Cleanup comes, nobody needs it; after a power cut nobody brings it back.
    if (status === 'awaitingCleanup' && remote !== null) mountedMaybe.push(`${id}/fs`);
    if (shownAs === null) continue;
    // What is mounted shows the mode of the layer.
    const fs = remote === null ? [`${id}/fs d755 `] : [];
    const work = preparedAs === 'active' ? [`${id}/work d711 `] : [];
    for (const line of [`${id} d700 `, ...fs, ...work]) {
      if (!listing.includes(line)) lines.push(`snapshot ${id} ${name} has no "${line}"`);
    }
  }
  // Set aside in the log before they are made: each is there or not.
  const preallocated = (await preallocatedOf(machine)).map(String);
  for (const line of listing.filter((each) => !/^[^ ]*\//.test(each))) {
    const name = line.split(' ')[0] ?? '';
    if (!expected.has(name) && !preallocated.includes(name))
      lines.push(`directory ${name} has no owner`);
    expected.delete(name);
  }
  for (const id of expected) {
    const isThere = listing.some((line) => line.startsWith(`${id} `));
    if (!isThere) lines.push(`snapshot ${id} has no directory`);
  }
  const clones = neededClones(machine.root, await forestOf(machine));
  mounted.push(...[...clones].map((clone) => relative(machine.snapshots, clone)));
  const directories = idmappedDirectories(machine);
  if (directories.join() !== [...clones].sort().join()) {
    lines.push(`for mapped ids there are "${directories.join()}", not "${[...clones].join()}"`);
  }
  const mounts = machine
    .mountpoints()
    .filter((each) => !mountedMaybe.includes(each))
    .sort()
    .join();
  if (mounts !== mounted.sort().join())
    lines.push(`mounted is "${mounts}", not "${mounted.join()}"`);
  return lines;
}

/** Directories of mounts with mapped ids, and of maps that have none. */
function idmappedDirectories({ root }: Machine): readonly string[] {
  const below = (directory: string) =>
    (existsSync(directory) ? readdirSync(directory) : []).map((name) => `${directory}/${name}`);
  return below(`${root}/idmapped`)
    .flatMap((maps) => (below(maps).length === 0 ? [maps] : below(maps)))
    .sort();
}

/** All that verify finds, but for what is only information. */
export async function verified(machine: Machine): Promise<string[]> {
  const lines: string[] = [];
  for await (const item of verifyLog({ root: machine.root, disk: machine.disk })) {
    if (item.kind === 'summary' || item.severity === 'info') continue;
    lines.push(`verify: ${item.kind} at ${item.position}: ${item.detail}`);
  }
  return lines;
}

/** Kills the service at rest and starts it again: nothing may change. Answers the new session. */
export async function startedAgain(
  machine: Machine,
): Promise<{ readonly session: Session; readonly lines: readonly string[] }> {
  const lines: string[] = [];
  const before = await stillness(machine);
  machine.killed();
  const session = new Session(machine, new Gate());
  await session.begin();
  const after = await stillness(machine);
  if (after.text !== before.text) {
    lines.push(`a second start changed ${before.text} into ${after.text}`);
  }
  for (const { type, data } of after.records.slice(before.records.length)) {
    const told = JSON.stringify(data);
    const isQuiet = type === 'DaemonStarted' || type === 'CheckpointTaken';
    const isAdoption = type === 'RecoveryPlanned' && told.includes('"findings":[]');
    if (!isQuiet && !isAdoption) lines.push(`a second start recorded ${type} ${told}`);
  }
  for (const finding of session.opened.plan.findings) {
    if (!isOrdinary(finding)) lines.push(`a second start found ${JSON.stringify(finding)}`);
  }
  return { session, lines };
}

async function stillness(machine: Machine) {
  const records = [];
  for await (const record of readLog({ root: machine.root, disk: machine.disk })) {
    records.push(record);
  }
  const observed = [...(await observe(machine))].sort();
  const files = machine.disk.paths().filter((path) => /\.(new|broken)$/.test(path));
  const facts = [machine.listing(), machine.mountpoints().sort(), observed, files];
  return { records, text: JSON.stringify(facts) };
}

/** Whether two worlds hold the same, whatever another try has made of numbers and times. */
export function compareLooks(wanted: World, found: World, ignoresFiles: boolean): string[] {
  const text = (world: World): string =>
    [...world]
      .map(([name, { look, files }]) => `${name} ${look} ${ignoresFiles ? '' : files}`)
      .sort()
      .join('; ');
  if (text(wanted) === text(found)) return [];
  return [`going on leads to ${text(found)}, not to ${text(wanted)}`];
}
