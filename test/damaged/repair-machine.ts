/**
 * A computer on which a damaged root is repaired, by one process after the other, as the command
 * does it: survey, plan, lock, repair; or, where the last one was stopped behind its journal, what
 * the journal says. Each process is at a gate, and the disk knows what a power cut leaves.
 */
import { createHash } from 'node:crypto';
import { RootRefused } from '../../src/log/errors.js';
import { lockPath, logDirectory, makeDirectoryIfAbsent } from '../../src/log/files.js';
import { readIdentity } from '../../src/log/root/identity.js';
import { takeLock } from '../../src/log/root/lock.js';
import { readLog } from '../../src/log/reader.js';
import { finishJournal, readJournal } from '../../src/repair/repair-journal.js';
import type { Gate } from '../faults/crash/gate.js';
import { gatedDisk, ProcessClock, SteadyClock } from '../faults/crash/ports.js';
import { RealTree } from '../faults/crash/real-tree.js';
import type { FaultyDisk } from '../support/faulty-disk.js';
import type { DamagedCase } from './case.js';
import { planFor, repair, ROOT } from './rig.js';

/** What a process did before it ended or died. */
export type Course = 'repaired' | 'finished' | 'nothing to do' | 'died';

/** The quarantine has the time in its name. */
const timeless = (text: string): string => text.replace(/quarantine-(\d+)-\d+/g, 'quarantine-$1-T');

export class RepairMachine {
  readonly #time: SteadyClock;

  constructor(
    public disk: FaultyDisk,
    readonly query: DamagedCase['query'] = {},
    time = new SteadyClock(),
  ) {
    this.#time = time;
  }

  /** Another computer with the same disk, at another time. */
  twin(): RepairMachine {
    const time = new SteadyClock();
    time.advance(60_000);
    return new RepairMachine(this.disk.copy(), this.query, time);
  }

  /** One `stratalog repair --yes`, until it ends or its gate stops it. */
  async repair(gate: Gate): Promise<Course> {
    const died = gate.death.then(() => 'died' as const);
    return Promise.race([died, this.#repair(gate)]);
  }

  async #repair(gate: Gate): Promise<Course> {
    const disk = gatedDisk(this.disk, gate, new RealTree(), '/nowhere');
    const clock = new ProcessClock(this.#time, gate);
    const journal = await readJournal(disk, ROOT);
    const planned = journal === null ? await planFor(ROOT, disk, this.query) : null;
    if (planned !== null && planned.plan.kind !== 'repair') return 'nothing to do';
    await makeDirectoryIfAbsent(disk, logDirectory(ROOT));
    const lock = await takeLock(disk, clock, ROOT, { pid: 1, host: 'here', command: 'repair' });
    if (journal !== null) await finishJournal(disk, ROOT, journal);
    else if (planned !== null) await repair(ROOT, disk, planned, clock);
    await lock.release();
    return journal === null ? 'repaired' : 'finished';
  }

  killed(): void {
    this.disk = this.disk.afterKill();
  }

  /** What was not synced is lost or kept, as the draw says. */
  powerCut(draw: () => number): void {
    this.disk = this.disk.powerCut(draw);
  }

  /** A repair has begun what only a repair may end, and a start is told so. */
  async isHalfFinished(): Promise<boolean> {
    try {
      await readIdentity(this.disk, ROOT);
      return false;
    } catch (thrown) {
      return thrown instanceof RootRefused && thrown.message.includes('a repair was begun');
    }
  }

  /** All that the next process will find, as one word: equal words, equal worlds. */
  digest(): string {
    const hash = createHash('sha256');
    const twin = this.disk.afterKill();
    this.disk = twin.afterKill();
    for (const disk of [this.disk, twin.powerCut(() => 1)]) {
      for (const [path, content] of contentsOf(disk)) hash.update(`${path}\0${content}\0`);
    }
    return hash.digest('hex');
  }

  /** Every event, the time left out of those that tell of the repair. */
  async events(repairedAt: number): Promise<readonly string[]> {
    const events: string[] = [];
    for await (const { time, ...record } of readLog({ root: ROOT, disk: this.disk })) {
      const at = record.position < repairedAt ? String(time) : '';
      const { stream, streamVersion, type, position, data } = record;
      events.push(timeless(JSON.stringify([position, at, stream, streamVersion, type, data])));
    }
    return events;
  }

  /** Every file in the quarantines, with what is in it. */
  quarantined(): readonly string[] {
    const marked = contentsOf(this.disk).filter(([path]) => path.includes('/quarantine-'));
    return marked.map(([path, content]) => `${timeless(path)} ${content}`);
  }

  /** Names in the log, and the identity; `.new` files are removed by whoever comes next. */
  names(): readonly string[] {
    return this.disk
      .paths()
      .filter((path) => !path.endsWith('.new'))
      .map(timeless);
  }
}

/** What the lock says is for people alone. */
function contentsOf(disk: FaultyDisk): readonly (readonly [path: string, content: string])[] {
  return disk.paths().map((path) => {
    if (disk.isDirectory(path) || path === lockPath(ROOT)) return [path, 'is there'];
    return [path, createHash('sha256').update(disk.bytes(path)).digest('hex')];
  });
}
