/**
 * sd_notify(3): one datagram per message to the service manager's socket. Uses non-blocking socket
 * calls, because Node has no unix datagram sockets. A failure is returned instead of thrown, so
 * that it cannot stop the daemon.
 */
import * as fs from 'node:fs';
import { HostFault } from '../../base/errors.js';
import { errnoName, lastErrno, libraryCall } from '../libc.js';

const socketCall = libraryCall('int socket(int domain, int type, int protocol)');
const sendto = libraryCall(
  'long sendto(int fd, const void *bytes, size_t size, int flags, const void *address, unsigned int length)',
);

const afUnix = 1;
const datagram = 2 | 0o2000000 | 0o4000; // SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK
const noSignal = 0x4000; // MSG_NOSIGNAL
/** `sun_path`, unix(7). */
const pathBytesMax = 108;

export interface Notification {
  readonly ready?: boolean;
  readonly stopping?: boolean;
  /** One line for `systemctl status`. */
  readonly status?: string;
  readonly watchdog?: boolean;
}

/**
 * Sends the notification to `NOTIFY_SOCKET`. Returns true if it was sent, false if there is no
 * socket (undefined or empty), and the fault on failure.
 */
export function notify(
  socketPath: string | undefined,
  notification: Notification,
): boolean | HostFault {
  if (socketPath === undefined || socketPath === '') return false;
  const address = socketAddress(socketPath);
  if (address === null) return new HostFault('sd_notify', socketPath, 'EINVAL');
  const message = Buffer.from(linesOf(notification).join('\n'), 'utf8');
  const fd = socketCall(afUnix, datagram, 0);
  if (fd < 0) return new HostFault('socket', socketPath, errnoName(lastErrno()));
  try {
    const sent = sendto(fd, message, message.length, noSignal, address, address.length);
    return sent >= 0 || new HostFault('sendto', socketPath, errnoName(lastErrno()));
  } finally {
    fs.closeSync(fd);
  }
}

function linesOf(notification: Notification): readonly string[] {
  const lines: string[] = [];
  if (notification.ready === true) lines.push('READY=1');
  if (notification.stopping === true) lines.push('STOPPING=1');
  // A newline would start another assignment.
  if (notification.status !== undefined) {
    lines.push(`STATUS=${notification.status.replaceAll(/\s+/g, ' ')}`);
  }
  if (notification.watchdog === true) lines.push('WATCHDOG=1');
  return lines;
}

/** struct sockaddr_un; a leading `@` is the abstract namespace. */
function socketAddress(path: string): Uint8Array | null {
  if (!path.startsWith('/') && !path.startsWith('@')) return null;
  const name = Buffer.from(path, 'utf8');
  if (name.length >= pathBytesMax || name.includes(0)) return null;
  const isAbstract = path.startsWith('@');
  if (isAbstract) name[0] = 0;
  const address = Buffer.alloc(2 + name.length + (isAbstract ? 0 : 1));
  address.writeUInt16LE(afUnix, 0);
  name.copy(address, 2);
  return address;
}

/**
 * The watchdog timeout; null if it is not enabled for this process. Send a keep-alive at half of
 * it, sd_watchdog_enabled(3).
 */
export function watchdogMillis(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | null {
  const micros = Number(environment['WATCHDOG_USEC']);
  const named = environment['WATCHDOG_PID'];
  if (named !== undefined && named !== '' && Number(named) !== pid) return null;
  return Number.isFinite(micros) && micros > 0 ? micros / 1000 : null;
}
