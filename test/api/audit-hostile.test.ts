/**
 * Goal: whatever is asked, the answer is an answer: a code, and a sentence that says what is wrong.
 * Method: requests that cannot be meant, as messages and as bytes; readers that leave; a damaged
 * log; a log of a later release.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { NEVER } from 'rxjs';
import { afterEach, expect, test } from 'vitest';
import { reasonOf } from '../../src/base/errors.js';
import { position, snapshotId } from '../../src/base/units.js';
import { AuditArchive } from '../../src/api/audit/client/remote-archive.js';
import { queriesOn } from '../../src/api/audit/audit-queries.js';
import { CallContext } from '../../src/api/grpc/call-context.js';
import {
  AuditClient,
  AuditService,
  type SubscribeResponse,
} from '../../src/api/generated/stratalog/audit/v1/audit.js';
import { CallCancelled } from '../../src/api/grpc/status.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import { LogDamaged } from '../../src/log/errors.js';
import { EventNotUnderstood } from '../../src/machines/events/streams.js';
import { aCuttable, aLog, allOf, closing, lifeOf, serveAudit } from './audit-rig.js';
import { aDirectory, aServer, cleanUp } from './rig.js';

afterEach(cleanUp);

type Method = keyof typeof AuditService;

/** One call with these bytes as its request: `OK`, or the code and the message. */
function asked(path: string, method: Method, request: Buffer): Promise<string> {
  const client = closing(new Client(`unix:${path}`, credentials.createInsecure()));
  const same = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    const call = client.makeServerStreamRequest(AuditService[method].path, same, same, request);
    call.on('data', () => undefined);
    call.on('error', (fault: ServiceError) => resolve(`${fault.code} ${fault.details}`));
    call.on('end', () => resolve('OK'));
  });
}

const number = (field: number, value: bigint): Buffer => {
  const bytes = [field << 3];
  let left = value;
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  return Buffer.from([...bytes, Number(left)]);
};
const texts = (field: number, ...values: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(
    values.map((value) => {
      const bytes = Buffer.from(value);
      const tag = number(field, BigInt(bytes.length));
      return Buffer.concat([Buffer.from([(field << 3) | 2]), tag.subarray(1), bytes]);
    }),
  );
const notUtf8 = Buffer.from([0x62, 0xff]);
const minusOne = 2n ** 64n - 1n;
const none = Buffer.alloc(0);

const rows: readonly (readonly [string, Method, Buffer, RegExp | string])[] = [
  ['all', 'read', none, 'OK'],
  ['beyond the end', 'read', number(1, 7n), /^11 from: the log ends at position 6: 7 does not/],
  ['to beyond the end', 'read', number(2, 7n), 'OK'],
  ['the end', 'read', number(1, 6n), 'OK'],
  [
    'backwards bounds',
    'read',
    Buffer.concat([number(1, 4n), number(2, 3n)]),
    /^3 to: 3 is less than from/,
  ],
  [
    'minus one',
    'read',
    number(1, minusOne),
    /^3 from: 18446744073709551615 exceeds the maximum of 2\^53/,
  ],
  [
    '2^53',
    'read',
    number(2, 2n ** 53n),
    /^3 to: 9007199254740992 exceeds the maximum of 2\^53 - 1/,
  ],
  ['2^53 - 1', 'read', number(2, 2n ** 53n - 1n), 'OK'],
  ['a stream not UTF-8', 'read', texts(3, notUtf8), /^3 the request's field stream is not valid/],
  ['a stream of no name', 'read', texts(3, 'a b'), /^3 stream: "a b" is not a stream name/],
  ['a stream of Latin', 'read', texts(3, 'dæmon'), /^3 stream: "dæmon" is not a stream name/],
  [
    'a stream of 1 MiB',
    'read',
    texts(3, 's'.repeat(2 ** 20)),
    /^3 stream: "s{80}…" is not a stream name/,
  ],
  ['a type not UTF-8', 'subscribe', texts(3, 'A', notUtf8), /^3 the request's field types is not/],
  ['an empty type', 'subscribe', texts(3, ''), /^3 types: "" is not an event type/],
  ['65 types', 'read', texts(4, ...Array<string>(65).fill('A')), /^3 types: 65 names \(limit 64/],
  ['follow beyond', 'subscribe', number(1, 9n), /^11 from: the log ends at position 6: 9 does not/],
  ['another log', 'subscribe', texts(4, 'x'.repeat(99)), /^9 uuid: this is log .*"x{80}…"/],
  ['a uuid not UTF-8', 'subscribe', texts(4, notUtf8), /^3 the request's field uuid is not/],
  ['no snapshot', 'history', none, /^3 snapshot_id: must be at least 1/],
  ['a snapshot of nobody', 'history', number(1, 99n), 'OK'],
  [
    'a state to come',
    'stateAt',
    number(1, 7n),
    /^11 position: the log ends at position 6: 7 does not/,
  ],
  ['the state now', 'stateAt', none, 'OK'],
  ['no time', 'positionAt', none, /^3 time: required/],
  ['a time of text', 'positionAt', texts(1, 'now'), /^3 the request is not a valid protobuf/],
  ['nanos below 0', 'positionAt', texts(1, number(2, minusOne)), /^3 time: nanos must be/],
  ['the year 1', 'positionAt', texts(1, number(1, 2n ** 64n - 62_135_596_800n)), 'OK'],
  ['the last second', 'positionAt', texts(1, number(1, 2n ** 63n - 1n)), 'OK'],
  ['no text', 'find', none, /^3 text: must not be empty/],
  ['a text not UTF-8', 'find', texts(1, notUtf8), /^3 the request's field text is not valid/],
  ['a text of 32769 bytes', 'find', texts(1, 'x'.repeat(32_769)), /^3 text: 32769 bytes/],
  ['a text of 17 MB', 'find', texts(1, 'x'.repeat(17_000_000)), /^8 .*larger than max/],
  ['no protobuf', 'getLog', Buffer.from('<html>'), /^3 the request is not a valid protobuf/],
  ['unknown fields', 'getLog', texts(99, 'x'), 'OK'],
];

test('each request that cannot be meant is refused with what is wrong and where', async () => {
  const rig = await aLog();
  await rig.append(...lifeOf(1));
  for (const [name, method, request, answer] of rows) {
    const found = await asked(rig.path, method, request);
    if (typeof answer === 'string') expect(found, name).toBe(answer);
    else expect(found, name).toMatch(answer);
  }
  // Nothing of it is left, and the service is as it was.
  await expect.poll(() => rig.audit.streams()).toBe(0);
  expect(await allOf(rig.archive().read())).toHaveLength(6);
});

test('readers that leave midway give their places back', async () => {
  const rig = await aLog({ callsMax: 2 });
  for (let id = 1; id <= 400; id += 1) await rig.append(...lifeOf(id));
  for (let round = 0; round < 10; round += 1) {
    const archive = new AuditArchive(rig.path);
    for await (const [first] of archive.read()) {
      expect(first?.position).toBe(0);
      break;
    }
    archive.close();
    await expect.poll(() => rig.audit.streams()).toBe(0);
  }
});

test('a client that leaves its streams lying shuts out nobody but itself', async () => {
  // Each connection is a process of its own, as with clients in earnest.
  let pid = 0;
  const rig = await aLog({ callsMax: 64, callerOf: () => ({ pid: (pid += 1), uid: 0 }) });
  await rig.append(...lifeOf(1));
  const aClient = (path: string): AuditClient =>
    closing(new AuditClient(`unix:${path}`, credentials.createInsecure()));
  const follow = (client: AuditClient) =>
    client.subscribe({ from: 0n, stream: '', types: [], uuid: '' });
  const wire = await aCuttable(rig.path);
  const hostile = aClient(wire.path);
  for (let asked = 1; asked <= 300; asked += 1) {
    const call = follow(hostile);
    call.on('error', () => undefined);
    // Requests leave with the pause. Of most of them gRPC never sends the end.
    if (asked % 100 === 0) await delay(1);
    call.cancel();
  }
  await expect.poll(() => rig.audit.streams()).toBe(16);
  const [refusal] = (await once(follow(hostile), 'error')) as [ServiceError];
  expect([refusal.code, refusal.details]).toEqual([
    status.RESOURCE_EXHAUSTED,
    'too many streams of the audit service for process 1: 16 of 64 are running, which is the ' +
      'limit for one client; end one or raise limits.audit_calls',
  ]);
  const rightful = follow(aClient(rig.path));
  rightful.on('error', () => undefined);
  const [message] = (await once(rightful, 'data')) as [SubscribeResponse];
  expect(message.events).toHaveLength(6);
  rightful.cancel();
  wire.cut();
  await expect.poll(() => rig.audit.streams()).toBe(0);
});

test('a call whose client has left before anybody asked is over at once', () => {
  const left = new CallContext(
    { metadata: new Metadata(), cancelled: true, on: () => undefined, getPeer: () => 'unix:1' },
    'Subscribe',
    null,
  );
  expect(left.signal.reason).toBeInstanceOf(CallCancelled);
});

test.each(['first', 'newest'])(
  'damage in the %s segment is told behind what is sound',
  async (where) => {
    const root = join(await aDirectory(), 'root');
    const golden = fileURLToPath(new URL('../golden/v0.1.0/root', import.meta.url));
    cpSync(golden, root, { recursive: true });
    const archive = new RootArchive(systemDisk(), root);
    const { next, uuid, epoch } = await archive.bounds();
    const segments = readdirSync(join(root, 'log')).filter((name) => name.endsWith('.seg'));
    const isUsed = (name: string): boolean => Number(name.slice(0, -4)) < next;
    const used = segments.sort().filter(isUsed);
    const path = join(root, 'log', (where === 'first' ? used[0] : used.at(-1)) ?? '');
    const bytes = readFileSync(path);
    const at = bytes.indexOf('{"', 200);
    expect(at).toBeGreaterThan(0);
    bytes[at] = 0xff;
    writeFileSync(path, bytes);
    const identity = { uuid: uuid ?? '', epoch: epoch ?? 0 };
    const log = { identity, durablePosition: next, durableBatches: NEVER };
    const served = await serveAudit({ log, archive, queries: queriesOn(archive) });

    const fromFiles = await readAll(archive);
    const overSocket = await readAll(served.archive());
    expect(fromFiles.records.length).toBeLessThan(next);
    expect(overSocket.records).toEqual(fromFiles.records);
    expect(overSocket.error).toBeInstanceOf(LogDamaged);
    // Files that end early may be whole; a daemon knows how far they should reach.
    if (fromFiles.error !== null)
      expect(reasonOf(overSocket.error)).toBe(reasonOf(fromFiles.error));
    else expect(reasonOf(overSocket.error)).toContain(`everything before ${next} was durable`);
    const { signal } = new AbortController();
    const following = allOf(served.archive().follow(position(0), signal));
    await expect(following).rejects.toThrow(LogDamaged);
    const backwards = allOf(served.archive().read({ reverse: true, stream: 'daemon' }));
    await expect(backwards).rejects.toThrow(LogDamaged);
  },
);

async function readAll(archive: RootArchive | AuditArchive) {
  const records: number[] = [];
  try {
    for await (const batch of archive.read()) records.push(...batch.map((one) => one.position));
    return { records, error: null };
  } catch (thrown) {
    return { records, error: thrown };
  }
}

test('an event of a later release stops a state, and is read all the same', async () => {
  const rig = await aLog();
  await rig.append(...lifeOf(1).slice(0, 2));
  await rig.append({ stream: 'snapshot-1', type: 'SnapshotTeleported' });
  const archive = rig.archive();
  expect((await allOf(archive.read())).at(-1)?.type).toBe('SnapshotTeleported');
  await archive.stateAt(position(2));
  const later = await archive.stateAt(position(3)).catch((thrown: unknown) => thrown);
  expect(later).toBeInstanceOf(EventNotUnderstood);
  expect(later).toMatchObject({ isNewer: true });
  expect(String(later)).toContain('at position 2: event type SnapshotTeleported is not known');
  expect(await archive.historyOf(snapshotId(1))).toHaveLength(3);
});

test('a daemon without the service is told from one that is gone', async () => {
  const other = await aServer({});
  const without = closing(new AuditArchive(other.path));
  await expect(without.bounds()).rejects.toThrow('does not serve stratalog.audit.v1');
  const nobody = closing(new AuditArchive(join(await aDirectory(), 'none.sock')));
  await expect(nobody.bounds()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

test('the proto keeps to the rules of buf', () => {
  const lint = { use: ['STANDARD'], except: ['SERVICE_SUFFIX'] };
  const config = JSON.stringify({ version: 'v2', modules: [{ path: 'proto' }], lint });
  const words = ['lint', '.', '--path', 'proto/stratalog', '--config', config];
  expect(execFileSync('node_modules/.bin/buf', words, { encoding: 'utf8' })).toBe('');
});
