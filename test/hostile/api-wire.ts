/** Calls that are wrong as bytes: messages, frames, compression, headers. */
import { gzipSync } from 'node:zlib';
import { SnapshotsService } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { field, framed, varint, type ApiWorld, type Method, type RawCall } from './api-world.js';
import type { ApiCase } from './api-requests.js';

const key = (text: string | Uint8Array): Buffer => field(2, text);
const base = key('base');
const notUtf8 = Buffer.from([0x62, 0xff, 0x61]);
const label = (name: string | Uint8Array, value: string | Uint8Array): Buffer =>
  field(4, Buffer.concat([field(1, name), field(2, value)]));

function bytes(
  name: string,
  method: Method,
  message: readonly Uint8Array[],
  code: string,
  ...said: readonly RegExp[]
): ApiCase {
  const when = (world: ApiWorld) => world.bytes(method, Buffer.concat(message));
  return { name, when, expected: { code, message: said } };
}

function raw(
  name: string,
  call: Partial<RawCall>,
  code: string,
  ...said: readonly RegExp[]
): ApiCase {
  const whole = { path: SnapshotsService.stat.path, body: [framed(base)], ...call };
  return { name, when: (world) => world.raw(whole), expected: { code, message: said } };
}

const invalid = 'INVALID_ARGUMENT';
const notWhole = /not a valid protobuf message of its type: invalid argument$/;

export const messages: readonly ApiCase[] = [
  bytes('no protobuf', 'stat', [Buffer.alloc(64, 0xff)], invalid, notWhole),
  bytes('HTML', 'stat', [Buffer.from('<html><body>hello</body></html>')], invalid, notWhole),
  bytes('a field cut short', 'stat', [base.subarray(0, 4)], invalid, notWhole),
  bytes('a length without its text', 'stat', [base.subarray(0, 2)], invalid, notWhole),
  bytes('a length of 4 GiB', 'stat', [Buffer.from([0x12]), varint(2 ** 32 - 1)], invalid, notWhole),
  bytes('field number 0', 'stat', [base, Buffer.from([2, 1, 0])], invalid, notWhole),
  bytes('zeros behind the message', 'stat', [base, Buffer.alloc(3)], invalid, notWhole),
  bytes('the end of no group', 'stat', [base, Buffer.from([0x7c])], invalid, notWhole),
  bytes('groups without end', 'stat', [base, Buffer.alloc(5_000, 0x7b)], invalid, notWhole),
  bytes('wire type 7', 'stat', [base, Buffer.from([0x7f])], invalid, notWhole),
  bytes(
    'a label that reaches beyond itself',
    'prepare',
    [key('new'), Buffer.from([0x22, 3, 0x0a, 4, 0x6c]), field(3, 'child')],
    invalid,
    notWhole,
  ),
  bytes('an info of text', 'update', [field(2, 'not an info')], invalid, notWhole),
  bytes('a key not UTF-8', 'prepare', [key(notUtf8)], invalid, /field key is not valid UTF-8/),
  bytes('another such key', 'stat', [key(Buffer.from([0x62, 0xfe]))], invalid, /field key is not/),
  bytes('half a character', 'remove', [key(Buffer.from([0xe2, 0x82]))], invalid, /field key is/),
  bytes('a surrogate', 'usage', [key(Buffer.from([0xed, 0xa0, 0x80]))], invalid, /field key is/),
  bytes('a slash in two bytes', 'mounts', [key(Buffer.from([0xc0, 0xaf]))], invalid, /field key/),
  bytes(
    'a parent not UTF-8',
    'view',
    [key('v'), field(3, notUtf8)],
    invalid,
    /field parent is not/,
  ),
  bytes('a name not UTF-8', 'commit', [field(2, notUtf8)], invalid, /field name is not valid/),
  bytes(
    'a label key not UTF-8',
    'prepare',
    [key('new'), label(notUtf8, 'v')],
    invalid,
    /field labels\.key is not valid UTF-8/,
  ),
  bytes(
    'a label value not UTF-8',
    'commit',
    [field(3, 'active'), field(2, 'new'), label('k', notUtf8)],
    invalid,
    /field labels\.value is not valid UTF-8/,
  ),
  bytes(
    'the name to update not UTF-8',
    'update',
    [field(2, field(1, notUtf8))],
    invalid,
    /field info\.name is not valid UTF-8/,
  ),
  bytes(
    'a path not UTF-8',
    'update',
    [field(2, field(1, 'active')), field(3, field(1, notUtf8))],
    invalid,
    /field update_mask\.paths is not valid UTF-8/,
  ),
  bytes('a filter not UTF-8', 'list', [field(2, notUtf8)], invalid, /field filters is not valid/),
  bytes('a snapshotter not UTF-8', 'cleanup', [field(1, notUtf8)], invalid, /field snapshotter is/),
  // As in Go, a known field of another wire type is an unknown field, and those are skipped.
  bytes('a number for a key', 'stat', [Buffer.from([0x10, 7])], 'NOT_FOUND', /snapshot "" does/),
  bytes('unknown fields', 'stat', [field(99, notUtf8), base, Buffer.from([0x78, 1])], 'OK'),
  bytes('a key twice', 'stat', [key('nobody'), base], 'OK'),
];

const long = (length: number) => ({ 'x-long': 'a'.repeat(length) });
const gzip = { 'grpc-encoding': 'gzip' };
const zipped = gzipSync(base);
const gone = (name: string): Pick<RawCall, 'path'> => ({ path: `/${name}` });
const service = 'containerd.services.snapshots.v1.Snapshots';
const none = /no request message/;

export const frames: readonly ApiCase[] = [
  raw('an unknown method', gone(`${service}/Nope`), 'UNIMPLEMENTED', /does not implement/),
  raw('an unknown service', gone('a.B/Stat'), 'UNIMPLEMENTED', /does not implement .*a\.B\/Stat/),
  raw('a method in other case', gone(`${service}/stat`), 'UNIMPLEMENTED', /does not implement/),
  raw('no method', gone(service), 'UNIMPLEMENTED', /does not implement/),
  raw('a path with bytes of no text', { path: '/x\u00ff\u0085' }, 'UNIMPLEMENTED', /implement/),
  raw('a long path', gone('x'.repeat(30_000)), 'UNIMPLEMENTED', /does not implement/),
  raw('a path of nothing', { path: '*' }, 'closed'),
  raw('JSON', { headers: { 'content-type': 'application/json' } }, 'HTTP 415'),
  raw('no content type', { headers: { 'content-type': '' } }, 'HTTP 415'),
  raw('no message', { body: [] }, 'UNIMPLEMENTED', none),
  raw('half a frame head', { body: [Buffer.from([0, 0])] }, 'UNIMPLEMENTED', none),
  raw('a frame cut short', { body: [framed(base, { length: 99 })] }, 'UNIMPLEMENTED', none),
  raw('two messages', { body: [framed(base), framed(base)] }, 'UNIMPLEMENTED', /a second request/),
  raw(
    'a frame of 4 GiB',
    { body: [framed(base, { length: 2 ** 32 - 1 })] },
    'RESOURCE_EXHAUSTED',
    /larger than max \(4294967295 vs 16777216\)/,
  ),
  raw(
    'no gzip',
    { headers: gzip, body: [framed(base, { compressed: 1 })] },
    'INTERNAL',
    /decompress/,
  ),
  raw(
    'gzip cut short',
    { headers: gzip, body: [framed(zipped.subarray(0, 14), { compressed: 1 })] },
    'INTERNAL',
    /decompress/,
  ),
  raw(
    'gzip of 200 MB',
    { headers: gzip, body: [framed(gzipSync(Buffer.alloc(200e6)), { compressed: 1 })] },
    'RESOURCE_EXHAUSTED',
    /larger than 16777216/,
  ),
  raw(
    'gzip of what is no message',
    { headers: gzip, body: [framed(gzipSync(Buffer.alloc(99, 0xff)), { compressed: 1 })] },
    invalid,
    notWhole,
  ),
  raw(
    'an unknown compression',
    { headers: { 'grpc-encoding': 'snappy' }, body: [framed(base, { compressed: 1 })] },
    'UNIMPLEMENTED',
    /unsupported encoding "snappy"/,
  ),
  raw(
    'no duration',
    { headers: { 'grpc-timeout': 'soon' } },
    'INTERNAL',
    /grpc-timeout value "soon"/,
  ),
  raw('good gzip', { headers: gzip, body: [framed(zipped, { compressed: 1 })] }, 'OK'),
  raw('a header of 70 KB', { headers: long(70_000) }, 'OK'),
  raw('a namespace of 30 KB', { headers: { 'containerd-namespace': 'n'.repeat(30_000) } }, 'OK'),
  raw('a binary header of none', { headers: { 'x-bin': '***', 'grpc-trace-bin': '\u00ff' } }, 'OK'),
];
