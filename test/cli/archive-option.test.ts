/**
 * Goal: a command that reads a log queries the daemon if a socket is given, and reads files otherwise,
 * with the same results. Method: a real daemon process, killed and restarted.
 */
import { createServer, type Socket } from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { snapshotId } from '../../src/base/units.js';
import {
  withArchive,
  withArchiveOption,
  type ArchiveFlags,
} from '../../src/cli/args/archive-option.js';
import { systemDisk } from '../../src/host/files/disk.js';
import type { Archive } from '../../src/inspect/archive/archive.js';
import { encodeState } from '../../src/machines/snapshots/state-json.js';
import {
  aDaemon,
  aDirectory,
  appendTo,
  aRoot,
  askedOf,
  buildLimitMillis,
  builtCli,
  cleanUp,
  prepared,
  preparing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const flagsOf = (...args: readonly string[]): ArchiveFlags =>
  withArchiveOption(new Command())
    .parse(['node', 'test', ...args])
    .opts();

const using = <Value>(args: readonly string[], use: (archive: Archive) => Promise<Value>) =>
  withArchive(flagsOf(...args), systemDisk(), use);

const nothing = (): Promise<void> => Promise.resolve();

it('returns the same from the daemon and from its files', async () => {
  const daemon = await aDaemon({ config: 'preallocated_directories = 2\n' });
  const client = askedOf(daemon);
  for (const key of ['one', 'two']) await client.prepare(key);
  await client.commit('layer', 'one');
  await client.prepare('three', 'layer');
  const answers = async (archive: Archive) => {
    const { uuid, epoch, first, next } = await archive.bounds();
    const { forest, time } = await archive.stateAt(next);
    const records = [];
    for await (const batch of archive.read()) records.push(...batch);
    return {
      ...{ uuid, epoch, first, next, time, records },
      states: [...forest.values()].map(encodeState),
      preallocated: [...forest.preallocated],
      history: await archive.historyOf(snapshotId(1)),
      found: await archive.find('three'),
    };
  };
  const overSocket = await using(['-a', daemon.address], answers);
  expect(overSocket).toEqual(await using(['--root', daemon.root], answers));
  expect(overSocket.states).toHaveLength(3);
  // A unix: address in the format of gRPC is equivalent.
  const named = ['--address', `unix:${daemon.address}`];
  expect(await using(named, async (archive) => (await archive.bounds()).uuid)).toBe(
    overSocket.uuid,
  );
  const next = String(overSocket.next);
  for (const where of [named, ['--root', daemon.root]]) {
    const none = await stratalog(['log', ...where, '--from', '99999']);
    expect(none).toMatchObject({
      code: 0,
      stderr: `stratalog: no event matches; the log ends at position ${next}\n`,
    });
  }

  await daemon.crash();
  const gone = using(['-a', daemon.address], nothing);
  await expect(gone).rejects.toThrow('connection refused; the daemon is not running');
  await daemon.start();
  const again = await using(['-a', daemon.address], answers);
  expect(again.records.slice(0, overSocket.next)).toEqual(overSocket.records);
});

it('times out on a socket that accepts connections and never responds', async () => {
  const path = join(await aDirectory(), 'silent.sock');
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => silent.listen(path, resolve));
  try {
    const query = withArchive(flagsOf('-a', path), systemDisk(), nothing, { answerMillis: 100 });
    await expect(query).rejects.toThrow(
      'no response within 0.1 s; check that this is the socket of a',
    );
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});

it('reports that the audit service is switched off', async () => {
  const daemon = await aDaemon({ config: 'audit = false\n' });
  const query = using(['-a', daemon.address], (archive) => archive.bounds());
  await expect(query).rejects.toThrow('it is disabled (audit = false)');
  const health = await stratalog(['health', '-a', daemon.address]);
  expect(health).toMatchObject({ code: 0 });
  expect(health.stdout).not.toContain('stratalog.audit');
});

it('refuses contradictory or invalid flags', async () => {
  const root = await aRoot([]);
  const both = using(['--root', root, '--address', '/x.sock'], nothing);
  await expect(both).rejects.toThrow(`--address /x.sock and --root ${root} are mutually exclusive`);
  await expect(using(['--address', ''], nothing)).rejects.toThrow('--address is empty');
  const nowhere = join(await aDirectory(), 'none.sock');
  const absent = using(['-a', nowhere], nothing);
  await expect(absent).rejects.toThrow(`cannot connect to ${nowhere}: socket does not exist`);
});

it('uses the records before damage in the newest segment, reports it once, and exits 3', async () => {
  const root = await aRoot([]);
  // Each in its own sync group: a later group proves that it was durable.
  for (const event of [preparing(1, 'one'), prepared(1), preparing(2, 'two'), prepared(2)]) {
    await appendTo(root, [event]);
  }
  const path = join(root, 'log', `${'0'.repeat(20)}.seg`);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('"two"');
  bytes.writeUInt8(bytes.readUInt8(at + 1) ^ 4, at + 1);
  writeFileSync(path, bytes);
  const report =
    /^stratalog: the log stops at position 2: 0{20}\.seg at offset \d+: a record fails its checksum; the next whole record is 3, at offset \d+\. Later events are not included\. Run `stratalog verify`\n$/;
  for (const command of [
    ['history', '1', '-q'],
    ['state', '-q'],
    ['who', '1'],
    ['machine', '1'],
    ['replay'],
    ['diff', '0', '2'],
  ]) {
    const { code, stdout, stderr } = await stratalog([...command, '--root', root]);
    expect({ command, code, stderr }).toEqual({
      ...{ command, code: 3 },
      stderr: expect.stringMatching(report) as string,
    });
    expect(stdout, command.join(' ')).toMatch(/\b(one|1)\b/);
    expect(stdout).not.toContain('two');
  }
  // A missing snapshot cannot be distinguished from an unreadable one.
  const lost = await stratalog(['history', '2', '--root', root]);
  expect(lost).toMatchObject({ code: 3, stdout: '' });
  expect(lost.stderr).toMatch(/the log stops at position 2[^]*no snapshot in the log/);
  // In reverse order the report comes first.
  const reverse = await stratalog(['log', '-q', '--reverse', '-n', '1', '--root', root]);
  expect(reverse).toMatchObject({ code: 3, stdout: '1\n' });
  expect(reverse.stderr).toMatch(/^stratalog: the log stops at position 2: .*\n$/);
  const before = await stratalog(['state', '-q', '--at', '0', '--root', root]);
  expect(before).toEqual({ code: 0, stdout: '', stderr: '' });
});
