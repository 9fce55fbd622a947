/**
 * As much of the FUSE protocol as a file system needs that shows three files: `disk`, whose every
 * read, write and sync is handed on, `control`, through which the owner speaks, and `places`,
 * which tells it how far the disk is. Requests are answered one after another, so their order is the order in which they took effect.
 * Source: linux/fuse.h, protocol 7.31.
 */
import * as fs from 'node:fs';
import { errnoOf } from '../../../src/base/errors.js';
import { checked, cString, libraryCall } from '../../../src/host/libc.js';

/** Behind the two files. What is thrown becomes EIO. */
export interface Served {
  readonly diskBytes: number;
  read(offset: number, length: number): Buffer;
  write(bytes: Buffer, offset: number): void;
  zero(offset: number, length: number): void;
  flush(): void;
  /** What `places` reads as; asked anew with each read. */
  places(offset: number, size: number): Buffer;
  /** What was written to `control`. */
  command(text: string): void;
}

const mountCall = libraryCall(
  'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
);

const opcode = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  open: 14,
  read: 15,
  write: 16,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  access: 34,
  interrupt: 36,
  batchForget: 42,
  fallocate: 43,
} as const;

const inHeaderBytes = 40;
const outHeaderBytes = 16;
const bodyAt = inHeaderBytes;
const writeDataAt = inHeaderBytes + 40;
const maxWriteBytes = 1024 * 1024;
/** FUSE_BIG_WRITES | FUSE_MAX_PAGES */
const wantedFlags = (1 << 5) | (1 << 22);
/** FOPEN_DIRECT_IO: no page cache between the caller and us. */
const directIo = 1;
const punchHole = 2; // FALLOC_FL_PUNCH_HOLE
const zeroRange = 16; // FALLOC_FL_ZERO_RANGE

const node = { root: 1, disk: 2, control: 3, places: 4 } as const;
const errno = { none: 0, noEntry: 2, io: 5, notImplemented: 38, notSupported: 95 } as const;
const nodeIds = new Map<string, number>([
  ['disk', node.disk],
  ['control', node.control],
  ['places', node.places],
]);

/** Answer null: the kernel expects none. */
type Reply = Buffer | { readonly errno: number } | null;

/** Mounts and serves until somebody unmounts. Blocks the thread. `onMounted` runs when it stands. */
export function serveFuse(mountpoint: string, served: Served, onMounted: () => void): void {
  const device = fs.openSync('/dev/fuse', 'r+');
  const data = `fd=${device},rootmode=40000,user_id=0,group_id=0,max_read=${maxWriteBytes}`;
  const [target, type] = [cString(mountpoint), cString('fuse')];
  checked(
    'mount',
    mountpoint,
    mountCall,
    cString('recording-disk'),
    target,
    type,
    0,
    cString(data),
  );
  onMounted();
  const buffer = Buffer.alloc(maxWriteBytes + 64 * 1024);
  for (;;) {
    let length: number;
    try {
      length = fs.readSync(device, buffer);
    } catch (thrown) {
      const code = errnoOf(thrown);
      if (code === 'ENODEV') return;
      // A request that was taken back before it was read.
      if (code === 'ENOENT' || code === 'EINTR' || code === 'EAGAIN') continue;
      throw thrown;
    }
    const request = buffer.subarray(0, length);
    respond(device, request.readBigUInt64LE(8), answer(request, served));
  }
}

function respond(device: number, unique: bigint, reply: Reply): void {
  if (reply === null) return;
  const body = Buffer.isBuffer(reply) ? reply : Buffer.alloc(0);
  const header = Buffer.alloc(outHeaderBytes);
  header.writeUInt32LE(outHeaderBytes + body.length, 0);
  header.writeInt32LE(Buffer.isBuffer(reply) ? 0 : -reply.errno, 4);
  header.writeBigUInt64LE(unique, 8);
  try {
    fs.writevSync(device, [header, body]);
  } catch (thrown) {
    // Whoever asked was killed meanwhile.
    if (errnoOf(thrown) !== 'ENOENT') throw thrown;
  }
}

function answer(request: Buffer, served: Served): Reply {
  try {
    return dispatch(request, served);
  } catch (thrown) {
    process.stderr.write(`${String(thrown)}\n`);
    return { errno: errno.io };
  }
}

function dispatch(request: Buffer, served: Served): Reply {
  const nodeId = Number(request.readBigUInt64LE(16));
  switch (request.readUInt32LE(4)) {
    case opcode.init:
      return initReply(request);
    case opcode.lookup:
      return lookupReply(request, served);
    case opcode.getattr:
    case opcode.setattr:
      return Buffer.concat([Buffer.alloc(16), attributes(nodeId, served)]);
    case opcode.open:
    case opcode.opendir: {
      const reply = Buffer.alloc(16);
      reply.writeUInt32LE(nodeId === node.root ? 0 : directIo, 8);
      return reply;
    }
    case opcode.read:
      return readReply(request, nodeId, served);
    case opcode.write:
      return writeReply(request, nodeId, served);
    case opcode.fsync:
      if (nodeId === node.disk) served.flush();
      return { errno: errno.none };
    case opcode.fallocate:
      return fallocateReply(request, served);
    case opcode.forget:
    case opcode.batchForget:
    case opcode.interrupt:
      return null;
    case opcode.readdir:
      return Buffer.alloc(0);
    case opcode.flush:
    case opcode.release:
    case opcode.releasedir:
    case opcode.access:
      return { errno: errno.none };
    default:
      return { errno: errno.notImplemented };
  }
}

function initReply(request: Buffer): Buffer {
  const reply = Buffer.alloc(64);
  reply.writeUInt32LE(7, 0);
  reply.writeUInt32LE(31, 4);
  reply.writeUInt32LE(0, 8);
  reply.writeUInt32LE((request.readUInt32LE(bodyAt + 12) & wantedFlags) >>> 0, 12);
  reply.writeUInt16LE(16, 16);
  reply.writeUInt16LE(12, 18);
  reply.writeUInt32LE(maxWriteBytes, 20);
  reply.writeUInt32LE(1, 24);
  reply.writeUInt16LE(maxWriteBytes / 4096, 28);
  return reply;
}

function lookupReply(request: Buffer, served: Served): Reply {
  const name = request.toString('utf8', bodyAt, request.indexOf(0, bodyAt));
  const id = nodeIds.get(name);
  if (id === undefined) return { errno: errno.noEntry };
  const head = Buffer.alloc(40);
  head.writeBigUInt64LE(BigInt(id), 0);
  // The names stay for a day; the attributes never change.
  head.writeBigUInt64LE(86_400n, 16);
  head.writeBigUInt64LE(86_400n, 24);
  return Buffer.concat([head, attributes(id, served)]);
}

function attributes(id: number, served: Served): Buffer {
  const bytes = Buffer.alloc(88);
  bytes.writeBigUInt64LE(BigInt(id), 0);
  bytes.writeBigUInt64LE(BigInt(id === node.disk ? served.diskBytes : 0), 8);
  bytes.writeUInt32LE(id === node.root ? 0o40700 : 0o100600, 60);
  bytes.writeUInt32LE(id === node.root ? 2 : 1, 64);
  bytes.writeUInt32LE(4096, 80);
  return bytes;
}

function readReply(request: Buffer, nodeId: number, served: Served): Buffer {
  const offset = Number(request.readBigUInt64LE(bodyAt + 8));
  const size = request.readUInt32LE(bodyAt + 16);
  if (nodeId === node.places) return served.places(offset, size);
  return served.read(offset, Math.max(Math.min(size, served.diskBytes - offset), 0));
}

function writeReply(request: Buffer, nodeId: number, served: Served): Buffer {
  const offset = Number(request.readBigUInt64LE(bodyAt + 8));
  const size = request.readUInt32LE(bodyAt + 16);
  const bytes = request.subarray(writeDataAt, writeDataAt + size);
  if (nodeId === node.control) served.command(bytes.toString('utf8'));
  // A copy: the buffer is used for the next request.
  else served.write(Buffer.from(bytes), offset);
  const reply = Buffer.alloc(8);
  reply.writeUInt32LE(size, 0);
  return reply;
}

/** Discards and zeroing, as the loop driver asks for them. */
function fallocateReply(request: Buffer, served: Served): Reply {
  const offset = Number(request.readBigUInt64LE(bodyAt + 8));
  const length = Number(request.readBigUInt64LE(bodyAt + 16));
  if ((request.readUInt32LE(bodyAt + 24) & (punchHole | zeroRange)) === 0) {
    return { errno: errno.notSupported };
  }
  served.zero(offset, length);
  return { errno: errno.none };
}
