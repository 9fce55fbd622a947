/** Peer credentials of unix sockets, and sockets passed by the service manager. */
import type { Socket } from 'node:net';
import { libraryCall } from '../libc.js';

const getsockopt = libraryCall(
  'int getsockopt(int fd, int level, int option, void *value, void *length)',
);
const fcntl = libraryCall('int fcntl(int fd, int command, int argument)');

const solSocket = 1;
const soType = 3;
const soPeercred = 17;
const soAcceptConnections = 30; // SO_ACCEPTCONN
const soDomain = 39;
const setDescriptorFlags = 2; // F_SETFD
const closeOnExec = 1; // FD_CLOEXEC

/** The process that called connect(2), as the kernel recorded it then. */
export interface PeerCredentials {
  /** In our pid namespace; 0 if the peer is not visible in it. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Null if the socket is not a connected unix socket (TCP, or already closed). */
export function peerCredentials(socket: Socket): PeerCredentials | null {
  const fd = descriptorOf(socket);
  if (fd === null) return null;
  const value = new Uint32Array(3);
  const isKnown = readOption(fd, soPeercred, value);
  const [pid = 0, uid = 0, gid = 0] = value;
  // Without a peer the kernel returns uid and gid -1.
  if (!isKnown || uid === 0xffffffff) return null;
  return { pid, uid, gid };
}

/** Node exposes the descriptor only on the untyped handle, which is null after close. */
function descriptorOf(socket: Socket): number | null {
  if (!('_handle' in socket)) return null;
  const handle = socket._handle;
  if (typeof handle !== 'object' || handle === null || !('fd' in handle)) return null;
  const { fd } = handle;
  return typeof fd === 'number' && Number.isInteger(fd) && fd >= 0 ? fd : null;
}

/** A listening socket from the service manager. */
export interface PassedSocket {
  readonly fd: number;
  /** `FileDescriptorName=` of the socket unit; `unknown` if it is not set. */
  readonly name: string;
}

/** SD_LISTEN_FDS_START, sd_listen_fds(3). */
const firstPassed = 3;
/** Bounds the loop that marks each descriptor. */
const passedMax = 1024;

/**
 * The sockets of socket activation for this process; may be empty. Marks them close-on-exec, as
 * sd_listen_fds(3) does, so that children do not inherit them.
 */
export function passedSockets(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): readonly PassedSocket[] {
  const count = Number(environment['LISTEN_FDS'] ?? '0');
  // Children inherit the variables; only the named process may use them.
  if (Number(environment['LISTEN_PID']) !== pid) return [];
  if (!Number.isInteger(count) || count <= 0 || count > passedMax) return [];
  const names = (environment['LISTEN_FDNAMES'] ?? '').split(':');
  return Array.from({ length: count }, (_, index) => {
    const fd = firstPassed + index;
    fcntl(fd, setDescriptorFlags, closeOnExec);
    const name = names[index];
    return { fd, name: name === undefined || name === '' ? 'unknown' : name };
  });
}

/** The kind of a socket, with the names of socket(2). */
export interface SocketKind {
  /** `AF_UNIX`, `AF_INET` …, or `address family N`. */
  readonly family: string;
  readonly type: string;
  readonly isListening: boolean;
}

const families: ReadonlyMap<number, string> = new Map([
  [1, 'AF_UNIX'],
  [2, 'AF_INET'],
  [10, 'AF_INET6'],
  [16, 'AF_NETLINK'],
  [40, 'AF_VSOCK'],
]);
const types: ReadonlyMap<number, string> = new Map([
  [1, 'SOCK_STREAM'],
  [2, 'SOCK_DGRAM'],
  [3, 'SOCK_RAW'],
  [5, 'SOCK_SEQPACKET'],
]);

/** Null for a descriptor that is not open or not a socket. */
export function socketKind(fd: number): SocketKind | null {
  const [family, type, accepts] = [soDomain, soType, soAcceptConnections].map((option) =>
    numberOption(fd, option),
  );
  if (family == null || type == null || accepts == null) return null;
  return {
    family: families.get(family) ?? `address family ${family}`,
    type: types.get(type) ?? `socket type ${type}`,
    isListening: accepts !== 0,
  };
}

function numberOption(fd: number, option: number): number | null {
  const value = new Int32Array(1);
  return readOption(fd, option, value) ? (value[0] ?? null) : null;
}

/** Reads an option of SOL_SOCKET into `value`; false on failure. */
function readOption(fd: number, option: number, value: Int32Array | Uint32Array): boolean {
  const length = new Uint32Array([value.byteLength]);
  const bytes = new Uint8Array(value.buffer);
  return getsockopt(fd, solSocket, option, bytes, new Uint8Array(length.buffer)) === 0;
}
