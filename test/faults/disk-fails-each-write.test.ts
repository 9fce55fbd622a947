/**
 * Goal: whichever write of the log fails, at a first start, at work, at a checkpoint, where a
 * segment ends, at a start after a torn tail, or at a stop: nothing is acknowledged that is not
 * there, whoever reads is answered with what is durable, whoever changes is refused with the
 * reason, it is said once, and when the cause is gone a start finds everything acknowledged.
 * Method: one life is lived on the real disk and its operations are counted; then it is lived
 * once for each operation with that one failing, for good (a full disk, a dead one) or once (an
 * error that does not come again, on which nothing may be built).
 *
 * The two forests, replies and recovery are the program's own; only the error is put in.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostFault, LogReadOnly, LogShortOfRoom, reasonOf } from '../../src/base/errors.js';
import type { Labels } from '../../src/base/units.js';
import { eventsOf, TestDaemon, testRoot, told, type TestRoot } from '../support/daemon.js';
import { FailingDisk, type Fault, type Place } from './disk-fails-plan.js';

/** As small as segments may be, so that this life fills several. */
const settings = { segmentBytes: 4096, checkpointEveryEvents: 16 };
const long: Labels = new Map([['long', ''.padEnd(1500, 'long')]]);

let root: TestRoot;
beforeEach(() => {
  root = testRoot();
});
afterEach(() => root.remove());

/** What has been acknowledged, and the one call that was answered with the failure. */
interface Known {
  readonly names: Set<string>;
  /** Names that the failed call may have changed: it may have happened or not. */
  unsure: readonly string[];
  refusal: LogReadOnly | LogShortOfRoom | null;
  /** What room is left was kept for removals. */
  wasShortOfRoom: boolean;
}

interface Life {
  readonly known: Known;
  readonly failures: Error[];
  /** Why a start did not come about. */
  readonly refusedStarts: unknown[];
}

/** Two starts, with work in each and a torn tail between them, all on the same disk. */
async function live(disk: FailingDisk): Promise<Life> {
  const known: Known = { names: new Set(), unsure: [], refusal: null, wasShortOfRoom: false };
  const life: Life = { known, failures: [], refusedStarts: [] };
  await term(disk, life, async (daemon) => {
    await layer(daemon, known, 'one');
    await change(known, { adds: ['view'] }, () => daemon.view('view', 'one'));
    await change(known, { takes: ['view'] }, () => daemon.remove('view'));
    await change(known, {}, () => daemon.update('one', long, 'labels'));
    await layer(daemon, known, 'two');
  });
  const isOver = known.refusal !== null || life.failures.length > 0;
  if (isOver || life.refusedStarts.length > 0) return life;
  tearTail();
  await term(disk, life, async (daemon) => {
    await layer(daemon, known, 'three');
    await change(known, { takes: ['two'] }, () => daemon.remove('two'));
  });
  return life;
}

/** A daemon from its start to its stop; after a failure it is given up, as the service does. */
async function term(
  disk: FailingDisk,
  life: Life,
  work: (daemon: TestDaemon) => Promise<void>,
): Promise<void> {
  let daemon: TestDaemon;
  try {
    daemon = await TestDaemon.open(root, { ...settings, disk: (real) => disk.of(real) });
  } catch (thrown) {
    life.refusedStarts.push(thrown);
    return;
  }
  daemon.assembled.failures.subscribe((failure) => life.failures.push(failure));
  try {
    await work(daemon);
    if (life.failures.length > 0) await lookAtReadOnly(daemon, life);
    else if (life.known.refusal !== null) await lookAtShortOfRoom(daemon, life.known);
  } finally {
    // A stop tries to write as well; what it cannot write is no loss.
    await daemon.close().catch(() => daemon.crash());
    expect(daemon.fatal).toEqual([]);
  }
}

async function layer(daemon: TestDaemon, known: Known, name: string): Promise<void> {
  const key = `${name} key`;
  await change(known, { adds: [key] }, () => daemon.prepare(key, null, long));
  await change(known, { adds: [name], takes: [key] }, () => daemon.commit(key, name, long));
}

/** One call. After a failure none is made any more: `lookAtReadOnly` does what is left. */
async function change(
  known: Known,
  {
    adds = [],
    takes = [],
  }: { readonly adds?: readonly string[]; readonly takes?: readonly string[] },
  call: () => Promise<Parameters<typeof told>[0]>,
): Promise<void> {
  if (known.refusal !== null) return;
  try {
    expect(told(await call())).toBe('ok');
  } catch (thrown) {
    const isShort = thrown instanceof LogShortOfRoom;
    if (!isShort && !(thrown instanceof LogReadOnly)) throw thrown;
    known.refusal = thrown;
    // Short of room, nothing was begun.
    known.unsure = isShort ? [] : [...adds, ...takes];
    return;
  }
  for (const name of adds) known.names.add(name);
  for (const name of takes) known.names.delete(name);
}

/** Reads go on, from what is durable; changes are refused, with the reason. */
async function lookAtReadOnly(daemon: TestDaemon, { known, failures }: Life): Promise<void> {
  const sure = (name: string) => !known.unsure.includes(name);
  expect(daemon.list().filter(sure)).toEqual([...known.names].filter(sure).sort());
  for (const name of [...known.names].filter(sure)) {
    expect(told(daemon.stat(name))).toBe('ok');
    expect(told(await daemon.usage(name))).toBe('ok');
  }
  const changes = [
    () => daemon.prepare('later'),
    () => daemon.update([...known.names].find(sure) ?? 'none', new Map(), 'labels'),
    () => daemon.remove([...known.names].find(sure) ?? 'none'),
  ];
  for (const call of changes) {
    // Not decided on: what was in line behind the failure will never be.
    expect(await call().then(told, (thrown: unknown) => thrown)).toBeInstanceOf(LogReadOnly);
  }
  expect(failures).toHaveLength(1);
}

/** The log goes on for removals. They may use up what room is left, and then it fails. */
async function lookAtShortOfRoom(daemon: TestDaemon, known: Known): Promise<void> {
  expect(known.refusal).toBeInstanceOf(LogShortOfRoom);
  known.wasShortOfRoom = true;
  expect(daemon.list()).toEqual([...known.names].sort());
  await expect(daemon.prepare('later')).rejects.toThrow(/make room/);
  const [name] = known.names;
  if (name === undefined) return;
  known.refusal = null;
  await change(known, { takes: [name] }, () => daemon.remove(name));
}

/** What a power cut may leave of a group: bytes behind the last record of the newest segment. */
function tearTail(): void {
  const directory = `${root.path}/log`;
  const newest = fs
    .readdirSync(directory)
    .filter((name) => name.endsWith('.seg'))
    .sort()
    .at(-1);
  const path = `${directory}/${newest}`;
  const bytes = fs.readFileSync(path);
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  const torn = Buffer.alloc(Math.max(0, Math.ceil(end / 8) * 8 + 64 - bytes.length));
  fs.writeFileSync(path, Buffer.concat([bytes, torn]));
  const fd = fs.openSync(path, 'r+');
  fs.writeSync(fd, Buffer.alloc(40, 0xa5), 0, 40, Math.ceil(end / 8) * 8);
  fs.closeSync(fd);
}

/** Everything that must hold after a life with this fault, and once it is gone. */
async function check(fault: Fault): Promise<{ struck: string | null; outcome: string }> {
  const disk = new FailingDisk(fault);
  const life = await live(disk);
  const { known, failures, refusedStarts } = life;
  const struck = disk.struck ?? 'nothing';
  for (const thrown of [...refusedStarts, ...failures]) {
    // What failed, where, and how: an administrator has nothing else to go by.
    const reason = reasonOf(thrown);
    expect(reason, struck).toContain(fault.code);
    expect(reason, struck).toContain(dirname(root.path));
    expect(thrown instanceof HostFault || thrown instanceof LogReadOnly, reason).toBe(true);
  }
  expect(failures.length + refusedStarts.length, struck).toBeLessThanOrEqual(1);
  disk.heal();
  const again = await TestDaemon.open(root, settings);
  try {
    const sure = (name: string) => !known.unsure.includes(name);
    expect(again.list().filter(sure), struck).toEqual([...known.names].filter(sure).sort());
    expect(
      again.warnings.filter((text) => !/checkpoint/.test(text)),
      struck,
    ).toEqual([]);
    expect(told(await again.prepare('after it'))).toBe('ok');
    expect(again.fatal).toEqual([]);
  } finally {
    await again.close();
  }
  await eventsOf(root);
  return { struck: disk.struck, outcome: outcomeOf(life) };
}

function outcomeOf({ known, failures, refusedStarts }: Life): string {
  if (known.wasShortOfRoom) return 'short of room';
  if (failures.length > 0) return 'read-only';
  return refusedStarts.length > 0 ? 'no start' : 'went on';
}

/**
 * Every operation of a life without a fault. How many events share a write differs a little from
 * life to life on a busy machine: what each of several lives has counts, and every kind once.
 */
async function operationsOfALife(): Promise<readonly Place[]> {
  const lives: ReadonlyMap<string, number>[] = [];
  while (lives.length < 3) {
    root.remove();
    root = testRoot();
    const counting = new FailingDisk(null);
    const life = await live(counting);
    expect(life.failures).toEqual([]);
    expect(life.refusedStarts).toEqual([]);
    lives.push(counting.asked);
  }
  const kinds = new Set(lives.flatMap((asked) => [...asked.keys()]));
  return [...kinds].flatMap((kind) => {
    const times = Math.max(1, Math.min(...lives.map((asked) => asked.get(kind) ?? 0)));
    return Array.from({ length: times }, (_, occurrence) => ({ kind, occurrence }));
  });
}

/** Lives with the fault until it strikes: null when several lives have passed it by. */
async function checkUntilStruck(fault: Fault): Promise<string | null> {
  for (let lives = 0; lives < 10; lives += 1) {
    root.remove();
    root = testRoot();
    const { struck, outcome } = await check(fault);
    if (struck !== null) return outcome;
  }
  return null;
}

/** A full disk does not keep anybody from removing. */
const needsRoom = (code: string, { kind }: Place) =>
  code !== 'ENOSPC' || !/^(remove|truncate) /.test(kind);

describe.each([
  { what: 'a disk that is full from then on', code: 'ENOSPC', lasts: true },
  { what: 'a disk that fails once', code: 'EIO', lasts: false },
])('$what, at each write of the log', ({ code, lasts }) => {
  it('loses nothing acknowledged and says so once', async () => {
    const places = await operationsOfALife();
    for (const part of ['identity.json.new', 'next.prepared', '.seg', '.checkpoint', '.broken']) {
      expect(
        places.some(({ kind }) => kind.includes(part)),
        part,
      ).toBe(true);
    }
    const outcomes = new Map<string, number>();
    const missed: string[] = [];
    /** False when no life has come to that place. */
    const strike = async (at: Place): Promise<boolean> => {
      const outcome = await checkUntilStruck({ at, code, lasts });
      if (outcome !== null) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      return outcome !== null;
    };
    for (const at of places) {
      if (needsRoom(code, at) && !(await strike(at))) missed.push(`${at.kind} ${at.occurrence}`);
    }
    // The log is short of room, or at its end, by who comes first: the segment made ahead that
    // fails, or the event that needs it.
    const ahead = places.filter(({ kind }) => kind.includes('next.prepared'));
    const isSeen = (): boolean => !lasts || outcomes.has('short of room');
    for (let tries = 0; tries < 20 && !isSeen(); tries += 1) {
      for (const at of ahead) if (!isSeen()) await strike(at);
    }
    console.info(`${code}: ${[...outcomes].map(([what, times]) => `${what} ${times}`).join(', ')}`);
    // An error that does not come again leaves nobody without room.
    const expected = ['read-only', 'no start', ...(lasts ? ['short of room'] : ['went on'])];
    for (const outcome of expected) {
      expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(0);
    }
    expect(missed).toEqual([]);
  }, 600_000);
});
