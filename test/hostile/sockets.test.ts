/**
 * Goal: an address that cannot be served is refused with its reason and what to do; what stands
 * there, and the root, are as they were, and the next start serves. A dead socket is replaced.
 * Method: real sockets and mounts; the start is that of the command. That two true processes
 * keep apart is in test/api/listener.test.ts.
 */
import * as fs from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newSnapshotter } from '../../src/api/library.js';
import { checkCase, treeOf, type HostileCase, type Picture } from './case.js';
import { ask, serve } from './cli.js';
import { makeRoot, open, Rooms } from './rooms.js';

let rooms: Rooms;
let root: string;
beforeAll(async () => {
  rooms = new Rooms();
  root = path.join(rooms.directory('sound'), 'root');
  await makeRoot(root);
});
afterAll(() => rooms.close());

/** Where the daemon shall listen, and the directory round it that must not change. */
interface Place {
  address: string;
  round: string;
  server?: Server;
}

function anywhere(): Place {
  const round = rooms.directory('run');
  return { round, address: path.join(round, 'daemon.sock') };
}

async function live(place: Place): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(place.address, resolve));
  rooms.later(() => server.close());
  place.server = server;
}

/** As a process leaves it that was killed. */
function stale(address: string): Promise<void> {
  const server = createServer();
  const aside = `${address}-`;
  return new Promise((resolve) => {
    server.listen(aside, () => {
      fs.renameSync(aside, address);
      server.close(() => resolve());
    });
  });
}

/** What stands round the address; a temporary socket that was left would show. */
const pictureOf = ({ round }: Place): Picture => ({ run: treeOf(round), root: treeOf(root) });
/** The same for what is found out only once the root is open: then the start stands in the log. */
const untouched = ({ round }: Place): Picture => ({
  run: treeOf(round),
  snapshots: treeOf(`${root}/snapshots`),
});

const serving = ({ address }: Place) => serve(root, address);
const other = /choose another address/;

const cases: readonly HostileCase<Place>[] = [
  {
    name: 'is longer than a socket’s path can be',
    given: (place) => (place.address = path.join(place.round, `${'a'.repeat(120)}.sock`)),
    when: serving,
    expected: { code: 2, message: [/--address: address: too long.*at most 107 bytes/] },
  },
  {
    name: 'is relative',
    given: (place) => (place.address = 'daemon.sock'),
    when: serving,
    expected: { code: 2, message: [/--address: address: expected an absolute path/] },
  },
  {
    name: 'is a regular file',
    given: ({ address }) => fs.writeFileSync(address, 'mine'),
    when: serving,
    expected: { code: 2, message: [/exists and is not a socket; move it away or/, other] },
  },
  {
    name: 'is a directory',
    given: ({ address }) => fs.mkdirSync(address),
    when: serving,
    expected: { code: 2, message: [/exists and is not a socket/, other] },
  },
  {
    name: 'is a link to a file',
    given: ({ address, round }) => {
      fs.writeFileSync(`${round}/mine`, 'mine');
      fs.symlinkSync(`${round}/mine`, address);
    },
    when: serving,
    expected: { code: 2, message: [/exists and is not a socket/, other] },
  },
  {
    name: 'lies below a file',
    given: (place) => {
      fs.writeFileSync(place.address, 'mine');
      place.address = path.join(place.address, 'daemon.sock');
    },
    when: serving,
    expected: { code: 1, message: [/EEXIST; expected a directory: move the existing file away/] },
  },
  {
    name: 'lies on a read-only file system',
    given: (place) => {
      place.round = rooms.mount('tmpfs', 'ro');
      place.address = path.join(place.round, 'daemon.sock');
    },
    when: serving,
    expected: { code: 1, message: [/daemon\.sock: EROFS; the file system is mounted read-only/] },
  },
  {
    name: 'lies where no socket can be',
    given: (place) => (place.address = '/proc/daemon.sock'),
    when: serving,
    untouched: () => treeOf(`${root}/snapshots`),
    expected: { code: 1, message: [/\/proc\/daemon\.sock: E(ACCES|NOENT|OPNOTSUPP); /] },
  },
  {
    name: 'is served by somebody else',
    given: live,
    when: serving,
    untouched,
    expected: {
      code: 2,
      message: [/another process serves .*find it with "ss -xlp".*stop it/, other],
    },
  },
  {
    name: 'is the metrics address as well',
    when: ({ address }) => serve(root, address, '--metrics-address', address),
    expected: { code: 2, message: [/metrics_address and address are both .*change one of them/] },
  },
  {
    name: 'has a metrics address that is taken beside it',
    given: async (place) => {
      await live(place);
      place.address = path.join(place.round, 'own.sock');
    },
    when: ({ address, round }) =>
      serve(root, address, '--metrics-address', path.join(round, 'daemon.sock')),
    untouched,
    expected: { code: 2, message: [/cannot serve metrics_address: another process serves/] },
  },
  {
    name: 'has a debug address that is a file beside it',
    given: ({ round }) => fs.writeFileSync(`${round}/debug`, 'mine'),
    when: ({ address, round }) => serve(root, address, '--debug-address', `${round}/debug`),
    expected: { code: 2, message: [/debug exists and is not a socket; move it away/] },
  },
];

it.each(cases)('is refused when the address $name', async (each) => {
  const place = anywhere();
  await checkCase(each, place, pictureOf);
  if (place.server !== undefined) {
    // Whoever was there before is still there.
    expect(place.server.listening).toBe(true);
  }
});

it('leaves a root behind, after all of these, that opens and is sound', async () => {
  expect(await open(root)).toEqual({ code: 0, message: '' });
  expect(await ask(['verify', '--root', root])).toMatchObject({ code: 0, message: '' });
});

it('replaces a socket whose process is gone, and makes a directory that is not there', async () => {
  for (const prepare of [true, false]) {
    const place = anywhere();
    if (prepare) await stale(place.address);
    else place.address = path.join(place.round, 'not', 'there', 'daemon.sock');
    const served = serving(place);
    await expect.poll(() => answers(place.address), { timeout: 15_000 }).toBe(true);
    expect(fs.statSync(place.address).mode & 0o777).toBe(0o600);
    process.emit('SIGTERM');
    expect(await served).toMatchObject({ code: 0, message: '' });
    expect(fs.existsSync(place.address)).toBe(false);
  }
});

it('is refused beside another daemon on the same root and the same address, by the root', async () => {
  const place = anywhere();
  await live(place);
  const snapshotter = await newSnapshotter({ root, fileSystem: null });
  try {
    const { code, message } = await serving(place);
    expect({ code, message }).toMatchObject({ code: 4 });
    expect(message).toMatch(/in use by process \d+.*stop that one first/);
  } finally {
    await snapshotter.close();
  }
});

async function answers(address: string): Promise<boolean> {
  const probe = createConnection({ path: address });
  const connected = new Promise<boolean>((resolve) => {
    probe.once('connect', () => resolve(true));
    probe.once('error', () => resolve(false));
  });
  const answered = await connected;
  probe.destroy();
  if (answered) await sleep(50);
  return answered;
}
