/**
 * Goal: a subscriber gets each event once, in order, from the past into the present and over cut
 * connections; one who does not read slows nobody and fills nothing. Method: real connections,
 * appends while they run, and counts of what was kept and sent.
 */
import fc from 'fast-check';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { createConnection } from 'node:net';
import { status, type ServiceError } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { position } from '../../src/base/units.js';
import { AuditArchive, AuditFailed } from '../../src/api/audit/client/remote-archive.js';
import { queriesOn } from '../../src/api/audit/audit-queries.js';
import {
  AuditService,
  SubscribeResponse,
} from '../../src/api/generated/stratalog/audit/v1/audit.js';
import { MomentUnknown } from '../../src/inspect/archive/archive.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import { TestDaemon, testRoot } from '../support/daemon.js';
import { aCuttable, aLog, allOf, closing, lifeOf, serveAudit } from './audit-rig.js';
import { preparing } from '../cli/rig.js';
import { cleanUp, later } from './rig.js';

afterEach(cleanUp);

/**
 * A subscriber that takes no byte before `read`. Not grpc-js: its client takes whatever comes, and
 * keeps it in memory until somebody listens.
 */
function aReaderOfNothing(path: string, method: string = AuditService.subscribe.path) {
  const session = connectHttp2('http://localhost', {
    createConnection: () => createConnection({ path }),
  });
  later(() => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    ':path': method,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.end(Buffer.alloc(5));
  return {
    /** Positions, more of them as they come. */
    read: (): bigint[] => {
      const seen: bigint[] = [];
      let bytes = Buffer.alloc(0);
      stream.on('data', (more: Buffer) => {
        bytes = Buffer.concat([bytes, more]);
        while (bytes.length >= 5 && bytes.length >= 5 + bytes.readUInt32BE(1)) {
          const end = 5 + bytes.readUInt32BE(1);
          const { events } = SubscribeResponse.decode(bytes.subarray(5, end));
          seen.push(...events.map((event) => event.position));
          bytes = bytes.subarray(end);
        }
      });
      return seen;
    },
    leave: () => session.destroy(),
  };
}

const upTo = (end: number): number[] => Array.from({ length: end }, (_, index) => index);

test('past and present come without a gap or a double, while others append', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        past: fc.integer({ min: 0, max: 40 }),
        from: fc.integer({ min: 0, max: 60 }),
        live: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 10 }),
      }),
      async ({ past, from, live }) => {
        const rig = await aLog();
        let id = 0;
        for (let life = 0; life < past; life += 1) await rig.append(...lifeOf((id += 1)));
        const begin = Math.min(from, id * 6);
        const end = (past + live.reduce((sum, lives) => sum + lives, 0)) * 6;
        const stop = new AbortController();
        const seen: number[] = [];
        const appending = (async () => {
          for (const lives of live) {
            const events = upTo(lives).flatMap(() => lifeOf((id += 1)));
            await rig.append(...events);
          }
        })();
        const options = { from: position(begin), signal: stop.signal };
        for await (const { records, next } of rig.archive().subscribe(options)) {
          seen.push(...records.map((record) => record.position));
          expect(next).toBe(begin + seen.length);
          if (next === end) stop.abort();
        }
        await appending;
        expect(seen).toEqual(upTo(end).slice(begin));
        await cleanUp();
      },
    ),
    { numRuns: 15 },
  );
});

test('a connection that is cut at any point is resumed exactly there', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (cuts, isFiltered) => {
        const rig = await aLog();
        let id = 0;
        for (let life = 0; life < 60; life += 1) await rig.append(...lifeOf((id += 1)));
        const cuttable = await aCuttable(rig.path);
        const archive = closing(new AuditArchive(cuttable.path));
        const end = 100 * 6;
        const appending = (async () => {
          while (id < 100) await rig.append(...lifeOf((id += 1)));
        })();
        const stop = new AbortController();
        const seen: number[] = [];
        const rest = [...cuts];
        let cutAt = rest.shift() ?? Infinity;
        const types = isFiltered ? ['SnapshotPrepared', 'SnapshotRemoved'] : [];
        const options = { from: position(0), types, signal: stop.signal };
        for await (const piece of archive.followForever(options)) {
          seen.push(...piece.records.map((record) => record.position));
          if (seen.length >= cutAt) {
            cutAt = seen.length + (rest.shift() ?? Infinity);
            cuttable.cut();
          }
          if (piece.next === end) stop.abort();
        }
        await appending;
        const wanted = upTo(end).filter((at) => !isFiltered || at % 6 === 1 || at % 6 === 5);
        expect(seen).toEqual(wanted);
        await cleanUp();
      },
    ),
    { numRuns: 8 },
  );
});

test('one stream is followed alone, and its position moves on with the others', async () => {
  const rig = await aLog({ heartbeatMillis: 20 });
  await rig.append(...lifeOf(1));
  const stop = new AbortController();
  const seen: string[] = [];
  const options = { from: position(0), stream: 'snapshot-2', signal: stop.signal };
  for await (const { records, next, isLive } of rig.archive().subscribe(options)) {
    seen.push(...records.map(({ type }) => type));
    if (isLive && next === 6) await rig.append(...lifeOf(2).slice(0, 2), ...lifeOf(3));
    if (isLive && next === 14) stop.abort();
  }
  expect(seen).toEqual(['SnapshotPreparing', 'SnapshotPrepared']);
});

test('who is at the end is told so once, then hears a heartbeat', async () => {
  const rig = await aLog({ heartbeatMillis: 10 });
  await rig.append(...lifeOf(1));
  const stop = new AbortController();
  const told: [number, boolean][] = [];
  for await (const piece of rig.archive().subscribe({ from: position(2), signal: stop.signal })) {
    told.push([piece.records.length, piece.isLive]);
    if (told.length === 4) stop.abort();
  }
  expect(told).toEqual([
    [4, false],
    [0, true],
    [0, true],
    [0, true],
  ]);
});

test('a position that is not there, is gone, or is of another log is refused', async () => {
  const rig = await aLog();
  await rig.append(...lifeOf(1));
  const archive = rig.archive();
  const { signal } = new AbortController();
  const first = (options: { from: number; uuid?: string }) =>
    archive.subscribe({ ...options, from: position(options.from), signal }).next();
  await expect(first({ from: 7 })).rejects.toThrow(MomentUnknown);
  await expect(first({ from: 7 })).rejects.toThrow('ends at position 6: 7 does not exist yet');
  const other = first({ from: 0, uuid: 'another' });
  await expect(other).rejects.toThrow(AuditFailed);
  await expect(other).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  await expect(other).rejects.toThrow(/this is log .*, not "another"/);

  // Segments of 64 KiB: a hundred lives fill some.
  for (let id = 2; id < 150; id += 1) await rig.append(...lifeOf(id));
  await rig.log.writeCheckpoint({ position: rig.log.durablePosition, lines: ['{}'] });
  await rig.log.retire(rig.log.durablePosition);
  const { first: kept } = await archive.bounds();
  expect(kept).toBeGreaterThan(100);
  await expect(first({ from: 5 })).rejects.toThrow(MomentUnknown);
  await expect(first({ from: 5 })).rejects.toThrow(
    `begins at position ${kept}: 5 is no longer retained`,
  );
  // A range that is retired as a whole holds nothing, and is no damage.
  for (const more of [{}, { reverse: true }, { stream: 'snapshot-1' }]) {
    expect(await allOf(archive.read({ to: position(5), ...more }))).toEqual([]);
  }
  const begun = await first({ from: 0 });
  expect(begun.value?.records[0]?.position).toBe(kept);
});

test('a slow subscriber slows no Prepare, is held in bounded memory, and misses nothing', async () => {
  const root = testRoot();
  const daemon = await TestDaemon.open(root);
  later(async () => {
    await daemon.assembled.close('the test is over');
    root.remove();
  });
  const { log } = daemon.assembled;
  const archive = new RootArchive(daemon.host.disk, root.path);
  const served = await serveAudit({ log, archive, queries: queriesOn(archive) });
  const slow = aReaderOfNothing(served.path);
  await expect.poll(() => served.audit.streams()).toBe(1);

  const text = 'v'.repeat(4_000);
  const labels = new Map(upTo(15).map((at) => [`label-${at}`, text]));
  const begun = log.durablePosition;
  for (let at = 0; at < 150; at += 1) {
    const told = await daemon.prepare(`key-${at}`, null, labels);
    expect(told.ok).toBe(true);
  }
  const { durablePosition } = log;
  expect(durablePosition).toBeGreaterThanOrEqual(begun + 300);
  // Nine megabytes were appended. HTTP/2's window has room for some, the server holds one message.
  expect(served.sent()).toBeLessThan(20);
  expect(served.audit.recent.kept.textLength).toBeLessThan(1_200_000);

  // Now it reads on, and has missed nothing.
  const seen = slow.read();
  await expect.poll(() => seen.length, { timeout: 20_000 }).toBe(durablePosition);
  expect(seen).toEqual(upTo(durablePosition).map(BigInt));
  slow.leave();
  await expect.poll(() => served.audit.streams()).toBe(0);
  // Without a subscriber nothing is kept at all.
  expect(served.audit.recent.kept).toEqual({ events: 0, textLength: 0 });
});

test('a state is not kept for ever for those who do not read it', async () => {
  const rig = await aLog({ stallMillis: 200 });
  // More than HTTP/2 takes on its own.
  const labels = { long: 'x'.repeat(4_000) };
  await rig.append(...upTo(100).map((at) => preparing(at + 1, `key-${at}`, { labels })));
  const stalled = [1, 2].map(() => aReaderOfNothing(rig.path, AuditService.stateAt.path));
  await expect.poll(() => rig.audit.streams()).toBe(2);
  // Both places are taken, until it is seen that nobody reads.
  await expect.poll(() => rig.audit.streams()).toBe(0);
  expect((await rig.archive().stateAt(position(100))).forest.size).toBe(100);
  for (const reader of stalled) reader.leave();
});

test('of a thousand subscribers those that fit are served, and the others told why not', async () => {
  const rig = await aLog({ callsMax: 160 });
  await rig.append(...lifeOf(1));
  const client = rig.client();
  const refused: ServiceError[] = [];
  const live = new Set<number>();
  const calls = upTo(1_000).map((number) => {
    const call = client.subscribe({ from: 0n, stream: '', types: [], uuid: '' });
    call.on('error', (fault: ServiceError) => refused.push(fault));
    call.on('data', (message: SubscribeResponse) => {
      if (message.live) live.add(number);
    });
    return call;
  });
  await expect.poll(() => [refused.length, live.size], { timeout: 20_000 }).toEqual([960, 40]);
  for (const fault of refused) {
    expect(fault.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(fault.details).toBe(
      `too many streams of the audit service for process ${process.pid}: 40 of 160 are running, ` +
        'which is the limit for one client; end one or raise limits.audit_calls',
    );
  }
  await rig.append(...lifeOf(2));
  for (const call of calls) call.cancel();
  await expect.poll(() => rig.audit.streams()).toBe(0);
  expect(await allOf(rig.archive().read())).toHaveLength(12);
});

test('a stop ends subscriptions at once, and they can be resumed', async () => {
  const rig = await aLog();
  await rig.append(...lifeOf(1));
  const call = rig.client().subscribe({ from: 0n, stream: '', types: [], uuid: '' });
  call.on('data', () => undefined);
  const ended = once(call, 'error') as Promise<[ServiceError]>;
  await expect.poll(() => rig.audit.streams()).toBe(1);
  await rig.server.stop(60_000);
  const [fault] = await ended;
  expect([fault.code, fault.details]).toEqual([status.UNAVAILABLE, 'the server is stopping']);
  await expect.poll(() => rig.audit.streams()).toBe(0);
});
