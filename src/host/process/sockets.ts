/** What a unix socket tells beyond its bytes: who connected, and which were handed to us. */
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

/** The process that called connect(2), as the kernel knew it then. */
export interface PeerCredentials {
  /** In our pid namespace; 0 when the peer's is not below it. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Null when the socket is not a connected unix socket (TCP, closed meanwhile). */
export function peerCredentials(socket: Socket): PeerCredentials | null {
  const fd = descriptorOf(socket);
  if (fd === null) return null;
  const value = new Uint32Array(3);
  const isKnown = readOption(fd, soPeercred, value);
  const [pid = 0, uid = 0, gid = 0] = value;
  // For a socket without a peer the kernel answers uid and gid -1.
  if (!isKnown || uid === 0xffffffff) return null;
  return { pid, uid, gid };
}

/** Node shows a socket's descriptor on its handle only, which has no type and may be gone. */
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
  /** `FileDescriptorName=` of the socket unit; `unknown` when none was given. */
  readonly name: string;
}

/** The first descriptor that is handed over, sd_listen_fds(3). */
const firstPassed = 3;
/** More than a service is handed; each is marked one by one. */
const passedMax = 1024;

/**
 * The sockets of socket activation, and [] when there are none for this process. They are marked
 * close-on-exec, as sd_listen_fds(3) does, so that children do not inherit them.
 */
export function passedSockets(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): readonly PassedSocket[] {
  const count = Number(environment['LISTEN_FDS'] ?? '0');
  // The variables of a parent reach its children too: they count for the process that is named.
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

/** What kind of socket a descriptor is, by the names of socket(2). */
export interface SocketKind {
  /** `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK` and so on; a number where it has no name here. */
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

/** Null for a descriptor that is not open, or is no socket. */
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

/** Fills the value with an option of SOL_SOCKET; false when the descriptor has none. */
function readOption(fd: number, option: number, value: Int32Array | Uint32Array): boolean {
  const length = new Uint32Array([value.byteLength]);
  const bytes = new Uint8Array(value.buffer);
  return getsockopt(fd, solSocket, option, bytes, new Uint8Array(length.buffer)) === 0;
}
