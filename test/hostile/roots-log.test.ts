/**
 * Goal: whatever somebody did to the files of a log, a start and every command that looks say
 * which file it is and what to do, with the exit code of damage, and change nothing. Method: a
 * sound log of several segments, one thing done to it, then the commands one after the other.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import * as path from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkCase, treeOf, type Answer } from './case.js';
import { ask, serve } from './cli.js';
import { SEGMENT } from '../../src/log/format/layout.js';
import { makeRoot, open, Rooms } from './rooms.js';
import { share } from '../support/effort.js';

let rooms: Rooms;
let sound: string;
let foreign: string;
beforeAll(async () => {
  rooms = new Rooms();
  sound = path.join(rooms.directory('sound'), 'root');
  foreign = path.join(rooms.directory('foreign'), 'root');
  await makeRoot(sound);
  await makeRoot(foreign);
});
afterAll(() => rooms.close());

const segmentsOf = (root: string): string[] =>
  fs
    .readdirSync(`${root}/log`)
    .filter((name) => name.endsWith('.seg'))
    .sort()
    .map((name) => `${root}/log/${name}`);
const segment = (root: string, index: number): string => segmentsOf(root).at(index) ?? '';
/** A name as a far later segment has it. */
const later = (root: string, kind = 'seg'): string => `${root}/log/00000000000000009999.${kind}`;
const identity = (root: string): string => `${root}/identity.json`;
const lock = (root: string): string => `${root}/log/lock`;

function replaced(place: string, make: (place: string) => unknown): void {
  fs.rmSync(place);
  make(place);
}

function flip(file: string, at: number): void {
  const bytes = fs.readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  fs.writeFileSync(file, bytes);
}

function socketAt(file: string): Promise<void> {
  const server = createServer();
  // The name of a unix socket has no room for a long path; renamed, it stays a socket.
  const short = path.join(rooms.path, 's');
  return new Promise((resolve) => {
    server.listen(short, () => {
      fs.renameSync(short, file);
      rooms.later(() => server.close());
      resolve();
    });
  });
}

type Program = 'serve' | 'inspect' | 'verify' | 'log';
type Expected = readonly [code: number, ...says: RegExp[]];

/** What was done to the root, and what each program says of it. */
interface Deed {
  readonly name: string;
  readonly done: (root: string) => unknown;
  readonly told: Partial<Record<Program, Expected>>;
}

const noFile = /not a regular file, though it has the name of one: move it out of log\//;
const damaged = (...says: RegExp[]): Deed['told'] => ({
  serve: [3, ...says, /Nothing was changed\. Run `stratalog verify`.*docs\/recovery\.md/],
  inspect: [3, ...says],
  verify: [3, ...says],
});
const badIdentity = (why: RegExp): Deed['told'] => ({
  serve: [3, /identity\.json cannot be used/, why, /Restore it from a backup, or see/],
  inspect: [3, /identity-damaged +refuse to start/, why, /2 active/],
  verify: [3, /damage +identity-damaged/, why, /25 valid records|24 valid records/],
  log: [0, /key-2/],
});

const noLock: Deed['told'] = {
  serve: [1, /log\/lock is not a regular file, and the holder.*move it away/],
  inspect: [3, /lock-unusable +refuse to start.*move it away/],
  verify: [0],
  log: [0, /key-2/],
};

const deeds: readonly Deed[] = [
  {
    name: 'a segment in the middle is gone',
    done: (root) => fs.rmSync(segment(root, 1)),
    told: damaged(/follows the segment that begins at position \d+, which is not there/),
  },
  {
    name: 'a segment was renamed',
    done: (root) => fs.renameSync(segment(root, -1), later(root)),
    told: damaged(/9999\.seg.*header says that it begins at position \d+/s),
  },
  {
    name: 'a segment is there twice',
    done: (root) => fs.copyFileSync(segment(root, 0), later(root)),
    told: damaged(/9999\.seg.*header says that it begins at position 0/s),
  },
  {
    name: 'a segment of another log came in',
    done: (root) => fs.copyFileSync(segment(foreign, 1), segment(root, 1)),
    told: damaged(/belongs to the log [0-9a-f-]{36}, not/),
  },
  {
    name: 'a directory has the name of a segment',
    done: (root) => fs.mkdirSync(later(root)),
    told: {
      ...damaged(noFile),
      log: [3, /the log stops at position 24: \d+\.seg at offset \d+: .*stratalog verify/],
    },
  },
  {
    name: 'a directory stands in place of a segment',
    done: (root) => {
      const place = segment(root, 1);
      fs.rmSync(place);
      fs.mkdirSync(place);
    },
    told: damaged(noFile),
  },
  {
    name: 'a pipe has the name of a segment',
    done: (root) => execFileSync('mkfifo', [later(root)]),
    told: { ...damaged(noFile), log: [3, /the log stops at position/] },
  },
  {
    name: 'a socket has the name of a segment',
    done: (root) => socketAt(later(root)),
    told: { serve: [3, noFile], inspect: [3, noFile], verify: [3, noFile] },
  },
  {
    name: 'a link to nothing has the name of a segment',
    done: (root) => fs.symlinkSync('/nowhere', later(root)),
    told: { ...damaged(noFile), log: [3, /the log stops at position 24: /] },
  },
  {
    name: 'a link to itself stands in place of a segment',
    done: (root) => replaced(segment(root, 1), (place) => fs.symlinkSync(place, place)),
    told: {
      ...damaged(noFile),
      verify: [3, noFile, /19 valid records; 1 finding$/m],
      log: [3, noFile],
    },
  },
  {
    name: 'a device without an end stands in place of a segment',
    done: (root) => replaced(segment(root, 1), (place) => fs.symlinkSync('/dev/zero', place)),
    told: { ...damaged(noFile), log: [3, noFile] },
  },
  {
    name: 'a device without an end stands in place of the newest segment',
    done: (root) => replaced(segment(root, -1), (place) => fs.symlinkSync('/dev/zero', place)),
    told: damaged(noFile),
  },
  {
    name: 'links to a device have the names of a checkpoint and an index',
    done: (root) => {
      fs.symlinkSync('/dev/zero', later(root, 'checkpoint'));
      fs.symlinkSync('/dev/zero', segment(root, 0).replace(/seg$/, 'index'));
    },
    told: {
      inspect: [3, /checkpoint-unusable/],
      verify: [3, /checkpoint-unusable/, /index-unusable.*it is not a regular file/],
      log: [0, /key-2/],
    },
  },
  {
    name: 'a segment is empty',
    done: (root) => fs.truncateSync(segment(root, 1), 0),
    told: damaged(/the header is cut after 0 bytes/),
  },
  {
    name: 'the newest segment is empty',
    done: (root) => fs.truncateSync(segment(root, -1), 0),
    told: {
      ...damaged(/the header is cut after 0 bytes/),
      // The name of the segment is where the one before it ends.
      log: [3, /the log stops at position 0*(\d+): 0*\1\.seg at offset 0: the header is cut after/],
    },
  },
  {
    name: 'a segment lost its end',
    done: (root) => fs.truncateSync(segment(root, 1), 1000),
    told: {
      serve: [3, /next segment begins at/],
      verify: [3, /record-damaged.*ends within a record/],
    },
  },
  {
    name: 'a segment begins with something else',
    done: (root) => fs.writeFileSync(segment(root, 1), Buffer.alloc(4096, 'mine ')),
    told: damaged(/does not begin with the magic bytes/),
  },
  {
    name: 'the first segment is gone',
    done: (root) => fs.rmSync(segment(root, 0)),
    told: { serve: [1, /no checkpoint can be used.*Bring a checkpoint back/], verify: [3] },
  },
  {
    name: 'all segments are gone',
    done: (root) => segmentsOf(root).forEach((each) => fs.rmSync(each)),
    told: {
      serve: [1, /2 entries in snapshots\/ but no segment.*Bring the log back from a backup/],
      inspect: [3, /log-missing +refuse to start/],
    },
  },
  {
    name: 'a record was changed',
    done: (root) => flip(segment(root, 1), 700),
    told: { serve: [3, /is damaged at position \d+/], verify: [3, /record-damaged/] },
  },
  {
    name: 'garbage stands behind the records of a sealed segment',
    done: (root) => fs.appendFileSync(segment(root, 1), 'garbage'),
    told: { verify: [3, /stray-bytes.*are not all zero/] },
  },
  {
    name: 'garbage stands behind the records of the newest segment',
    done: (root) => fs.appendFileSync(segment(root, -1), 'garbage'),
    told: {
      inspect: [3, /torn-tail +cut it and keep a copy/],
      verify: [3, /torn-tail.*A start cuts them and keeps them aside/],
    },
  },
  {
    name: 'a segment is of a later format',
    done: (root) => {
      const bytes = fs.readFileSync(segment(foreign, 0));
      fs.writeFileSync(segment(root, 0), laterFormat(bytes));
    },
    told: {
      serve: [5, /was written by stratalog 9\.9\.9.*Run stratalog 9\.9\.9 or a later release/],
      inspect: [5, /stratalog 9\.9\.9/],
      verify: [5, /stratalog 9\.9\.9/],
    },
  },
  {
    name: 'identity.json is junk',
    done: (root) => fs.writeFileSync(identity(root), 'junk'),
    told: badIdentity(/not valid JSON/),
  },
  {
    name: 'identity.json is empty',
    done: (root) => fs.writeFileSync(identity(root), ''),
    told: badIdentity(/JSON/),
  },
  {
    name: 'identity.json is a directory',
    done: (root) => {
      fs.rmSync(identity(root));
      fs.mkdirSync(identity(root));
    },
    told: badIdentity(/it is not a regular file/),
  },
  {
    name: 'identity.json is a pipe',
    done: (root) => {
      fs.rmSync(identity(root));
      execFileSync('mkfifo', [identity(root)]);
    },
    told: badIdentity(/JSON|not a regular file/),
  },
  {
    name: 'identity.json has three gigabytes',
    done: (root) => fs.truncateSync(identity(root), 3 * 2 ** 30),
    told: badIdentity(/it has 65536 bytes or more/),
  },
  {
    name: 'identity.json lacks a field',
    done: (root) => fs.writeFileSync(identity(root), '{"uuid":"x","writtenBy":"y"}'),
    told: badIdentity(/"formatVersion" is missing or malformed/),
  },
  {
    name: 'identity.json is gone',
    done: (root) => fs.rmSync(identity(root)),
    told: {
      serve: [1, /identity\.json is missing.*bring identity\.json back from a backup/],
      inspect: [3, /log-missing/],
      verify: [3, /identity-missing/],
      log: [0, /key-2/],
    },
  },
  {
    name: 'identity.json is of a later format',
    done: (root) => {
      const text = fs.readFileSync(identity(root), 'utf8');
      fs.writeFileSync(
        identity(root),
        text.replace('"formatVersion": 1', '"formatVersion": 7').replace('0.1.0', '9.9.9'),
      );
    },
    told: {
      serve: [5, /written by stratalog 9\.9\.9/],
      inspect: [5, /written by stratalog 9\.9\.9/],
      verify: [5, /written by stratalog 9\.9\.9/],
    },
  },
  {
    name: 'identity.json is a link to nothing',
    done: (root) => replaced(identity(root), (place) => fs.symlinkSync('/nowhere', place)),
    told: badIdentity(/it is not a regular file/),
  },
  {
    name: 'identity.json is a link to a device',
    done: (root) => replaced(identity(root), (place) => fs.symlinkSync('/dev/zero', place)),
    told: badIdentity(/it is not a regular file/),
  },
  {
    name: 'the lock is a directory',
    done: (root) => replaced(lock(root), fs.mkdirSync),
    told: noLock,
  },
  {
    name: 'the lock is a pipe',
    done: (root) => replaced(lock(root), (place) => execFileSync('mkfifo', [place])),
    told: noLock,
  },
  {
    name: 'the lock is a link to a device',
    done: (root) => replaced(lock(root), (place) => fs.symlinkSync('/dev/zero', place)),
    told: noLock,
  },
  {
    name: 'the lock is a link to another file',
    done: (root) => replaced(lock(root), (place) => fs.symlinkSync(segment(root, 0), place)),
    told: noLock,
  },
  {
    name: 'the lock is a link to a file that could be made',
    done: (root) => replaced(lock(root), (place) => fs.symlinkSync(`${root}/made`, place)),
    told: noLock,
  },
  {
    name: 'the next segment is a directory',
    done: (root) => fs.mkdirSync(`${root}/log/next.prepared`),
    told: { serve: [1, /next\.prepared: EISDIR; expected a file, found a directory/], verify: [0] },
  },
];

/** A header whose format and writer are of the future, with its checksum right. */
function laterFormat(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  const length = changed.readUInt32LE(SEGMENT.headerLength);
  changed.writeUInt32LE(7, SEGMENT.formatVersion);
  changed.write('stratalog 9.9.9\0', SEGMENT.writtenBy, 'utf8');
  const covered = changed.subarray(SEGMENT.headerLength, length);
  changed.writeUInt32LE(crc32(covered), SEGMENT.crc);
  return changed;
}

async function answerOf(program: Program, root: string): Promise<Answer> {
  if (program === 'serve') return serve(root, path.join(rooms.path, 'daemon.sock'));
  const { code, message, stdout } = await ask([program, '--root', root, '--no-trunc']);
  return { code, message: `${message}${stdout}` };
}

describe.each(share(deeds, 3))('when $name', ({ done, told }) => {
  it('each command says so and changes nothing', async () => {
    const root = rooms.copyOf(sound);
    await done(root);
    for (const program of ['inspect', 'verify', 'log', 'serve'] as const) {
      const [code, ...message] = told[program] ?? [];
      if (code === undefined) continue;
      const when = (): Promise<Answer> => answerOf(program, root);
      // A start writes who holds the lock before it reads the log.
      const whole = () =>
        treeOf(
          root,
          (name) => program === 'serve' && name === './log/lock' && told.serve !== noLock.serve,
        );
      await checkCase({ name: program, when, expected: { code, message } }, root, whole);
    }
  });
});

it('strangers with the names of checkpoints are passed over, and push no real one out', async () => {
  const root = rooms.copyOf(sound);
  fs.writeFileSync(later(root, 'checkpoint'), 'mine');
  fs.mkdirSync(`${root}/log/00000000000000008888.checkpoint`);
  const first = await open(root);
  expect(first.code).toBe(0);
  expect(first.message).toMatch(/checkpoint/);
  const names = fs.readdirSync(`${root}/log`).filter((name) => name.endsWith('.checkpoint'));
  expect(names.filter((name) => Number.parseInt(name) < 8888)).toHaveLength(1);
  expect(fs.readFileSync(later(root, 'checkpoint'), 'utf8')).toBe('mine');
});

/** Commands that read a root, beside those above. */
const readers: readonly (readonly string[])[] = [['state'], ['export'], ['repair', '--dry-run']];

it.each(readers)(
  '%s tells of a segment that is a link to a device or to nothing',
  async (...of) => {
    for (const target of ['/dev/zero', '/nowhere']) {
      const root = rooms.copyOf(sound);
      replaced(segment(root, 1), (place) => fs.symlinkSync(target, place));
      const { code, message, stdout } = await ask([...of, '--root', root]);
      expect({ code, said: `${message}${stdout}` }).toEqual({
        code: 3,
        said: expect.stringMatching(noFile) as string,
      });
    }
  },
);

it.each(readers)('%s does without a lock that is a pipe', async (...of) => {
  const root = rooms.copyOf(sound);
  replaced(lock(root), (place) => execFileSync('mkfifo', [place]));
  expect(await ask([...of, '--root', root])).toMatchObject({ code: 0 });
});
