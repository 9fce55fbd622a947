/**
 * Goal: each full segment is checked once, and what is told of it is true. Method: a log of small
 * segments on a disk in memory, and a clock that is moved by hand.
 */
import { expect, it } from 'vitest';
import { unixNanos, type UnixNanos } from '../../src/base/units.js';
import { daemonDrafts } from '../../src/inspect/events/owner-records.js';
import { segmentSums } from '../../src/inspect/events/segment-digests.js';
import { withFile } from '../../src/log/files.js';
import { checkSegment, digestSegment } from '../../src/log/verify/sealed-segment.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import type { SegmentChecker } from '../../src/log/verify/verify-ahead.js';
import type { DaemonEvent } from '../../src/machines/events/daemon-events.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import { SegmentChecks } from '../../src/snapshotter/segment-checks.js';
import { collect, openTestLog, recordsOf, ROOT, segmentNames } from '../log/fixtures.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { VirtualClock } from '../support/virtual-clock.js';

const checkerOf = (disk: FaultyDisk): SegmentChecker => ({
  ahead: 1,
  check: (segment) => withFile(disk, segment.path, 'read', (file) => checkSegment(file, segment)),
  sum: (segment) => withFile(disk, segment.path, 'read', (file) => digestSegment(file, segment)),
});

/** In steps: a check takes some turns of the event loop. */
async function aMinute(clock: VirtualClock): Promise<void> {
  for (let step = 0; step < 240; step += 1) await clock.advance(250);
}

/** A daemon as far as it matters here. */
class Daemon {
  readonly problems: unknown[] = [];
  readonly clock = new VirtualClock();
  readonly durable = new Forest();
  #version = 0;

  private constructor(
    readonly disk: FaultyDisk,
    private readonly opened: Awaited<ReturnType<typeof openTestLog>>,
  ) {
    for (const { type, data } of opened.replayed) {
      this.#version += 1;
      this.durable.takeIn({ type, data } as unknown as DaemonEvent);
    }
  }

  static async start(disk: FaultyDisk): Promise<Daemon> {
    return new Daemon(disk, await openTestLog(disk, { segmentBytes: 4096 }));
  }

  check(checker = checkerOf(this.disk)): SegmentChecks {
    const { disk, clock } = this;
    return new SegmentChecks({
      ...{ root: ROOT, disk, clock, checker, log: this.opened.log, dispatcher: this },
      onProblem: (message, fields) => this.problems.push({ message, ...fields }),
    });
  }

  record(event: DaemonEvent): Promise<void> {
    return this.recordAt(event, null);
  }

  async recordAt(event: DaemonEvent, time: UnixNanos | null): Promise<void> {
    const drafts = daemonDrafts([event], this.#version);
    this.#version += 1;
    const timed = time === null ? drafts : drafts.map((draft) => ({ ...draft, time }));
    await this.opened.log.append(timed, { sync: true }).durable;
    this.durable.takeIn(event);
  }

  async work(events = 60): Promise<void> {
    for (let at = 0; at < events; at += 1) {
      await this.record({ type: 'OrphanFound', data: { name: `${at}`, path: '/a'.repeat(30) } });
    }
  }

  async stop(): Promise<void> {
    await this.opened.log.close();
  }
}

const told = async (disk: FaultyDisk) =>
  (await recordsOf(disk)).filter(({ type }) => type === 'SegmentChecked').map(({ data }) => data);

const firstsOf = async (disk: FaultyDisk): Promise<number[]> =>
  (await segmentNames(disk)).map((name) => Number(name.slice(0, 20)));

it('tells of each full segment once, also of those that fill later, and of none again', async () => {
  const daemon = await Daemon.start(new FaultyDisk());
  const { disk, clock } = daemon;
  await daemon.work();
  const checks = daemon.check();
  await clock.advance(1000);
  expect(await told(disk)).toEqual([]);
  await aMinute(clock);
  const firsts = await firstsOf(disk);
  expect((await told(disk)).map(({ from }) => from)).toEqual(firsts.slice(0, -1));
  expect(firsts.length).toBeGreaterThan(2);
  await daemon.work();
  await aMinute(clock);
  const later = await firstsOf(disk);
  expect(later.length).toBeGreaterThan(firsts.length);
  expect((await told(disk)).map(({ from }) => from)).toEqual(later.slice(0, -1));
  checks.close();
  await daemon.stop();
  expect(daemon.problems).toEqual([]);

  const again = await Daemon.start(disk);
  again.check();
  await aMinute(again.clock);
  await again.stop();
  expect(await told(disk)).toHaveLength(later.length - 1);

  const query = {
    root: ROOT,
    disk,
    checkSegment: checkerOf(disk),
    sums: segmentSums,
    bySums: true,
  };
  const items = await collect(verifyLog(query));
  expect(items).toMatchObject([{ kind: 'summary', damage: 0, vouched: later.length - 1 }]);
});

it('warns of a segment that is not sound at each start, and goes on when it is mended', async () => {
  const daemon = await Daemon.start(new FaultyDisk());
  const { disk, clock } = daemon;
  await daemon.work();
  const [first, second = 0] = await firstsOf(disk);
  const path = `${ROOT}/log/${String(second).padStart(20, '0')}.seg`;
  const flip = (): void => {
    disk.bytes(path).writeUInt8(disk.bytes(path).readUInt8(1000) ^ 1, 1000);
  };
  flip();
  for (let start = 0; start < 2; start += 1) {
    const checks = daemon.check();
    await aMinute(clock);
    // What is filled meanwhile is no reason to say the same again.
    await daemon.work();
    await aMinute(clock);
    checks.close();
  }
  const told_ = { message: 'a full segment of the log is damaged' };
  expect(daemon.problems).toMatchObject([told_, told_]);
  expect(daemon.problems[0]).toMatchObject({
    error: expect.stringContaining(path.slice(10)) as string,
  });
  flip();
  expect((await told(disk)).map(({ from }) => from)).toEqual([first]);
  daemon.check();
  await aMinute(clock);
  expect((await told(disk)).map(({ from }) => from)).toEqual((await firstsOf(disk)).slice(0, -1));
  await daemon.stop();
});

it('warns of a damaged header, once', async () => {
  const daemon = await Daemon.start(new FaultyDisk());
  const { disk, clock } = daemon;
  await daemon.work();
  const [, second = 0] = await firstsOf(disk);
  const name = `${String(second).padStart(20, '0')}.seg`;
  disk.bytes(`${ROOT}/log/${name}`).writeUInt8(0, 16);
  daemon.check();
  await aMinute(clock);
  await daemon.work();
  await aMinute(clock);
  expect(daemon.problems).toMatchObject([{ error: expect.stringContaining(name) as string }]);
  await daemon.stop();
});

it('passes over a segment in which the clock was set back, without a word', async () => {
  const daemon = await Daemon.start(new FaultyDisk());
  const { disk, clock } = daemon;
  await daemon.work(20);
  const late = { type: 'OrphanFound', data: { name: 'late', path: '/a' } } as const;
  await daemon.recordAt(late, unixNanos(1n));
  await daemon.work();
  daemon.check();
  await aMinute(clock);
  const firsts = await firstsOf(disk);
  expect(daemon.problems).toEqual([]);
  expect(await told(disk)).toHaveLength(firsts.length - 2);
  await daemon.stop();
});

it('believes no event that tells of more than there is', async () => {
  const daemon = await Daemon.start(new FaultyDisk());
  const { disk, clock } = daemon;
  await daemon.record({
    type: 'SegmentChecked',
    data: { from: 0, to: 2 ** 53 - 1, bytes: 1, sha256: 'ab'.repeat(32) },
  });
  await daemon.work();
  daemon.check();
  await aMinute(clock);
  const firsts = await firstsOf(disk);
  expect((await told(disk)).slice(1).map(({ from }) => from)).toEqual(firsts.slice(0, -1));
  await daemon.stop();
});

it('records nothing once it is closed, and tells when the disk cannot be read', async () => {
  const daemon = await Daemon.start(new FaultyDisk());
  const { disk, clock } = daemon;
  await daemon.work();
  let answer: (() => void) | null = null;
  const checks = daemon.check({
    ...checkerOf(disk),
    check: (segment) =>
      new Promise((resolve) => {
        answer = () => {
          resolve(withFile(disk, segment.path, 'read', (file) => checkSegment(file, segment)));
        };
      }),
  });
  await aMinute(clock);
  checks.close();
  expect(answer).not.toBeNull();
  (answer as unknown as () => void)();
  await aMinute(clock);
  expect(await told(disk)).toEqual([]);

  daemon.check({ ...checkerOf(disk), check: () => Promise.reject(new Error('EIO')) });
  await aMinute(clock);
  expect(daemon.problems).toMatchObject([{ error: 'EIO' }]);
  expect(clock.timers).toBe(0);
  await daemon.stop();
});
