/**
 * Socket activation, sd_listen_fds(3). Accepts exactly one listening unix stream socket: any other
 * socket would be unreachable, or reached by clients of another service, without an error.
 */
import { UsageError } from '../../base/errors.js';
import { passedSockets, socketKind, type PassedSocket } from '../../host/process/sockets.js';

type Environment = Readonly<Record<string, string | undefined>>;

const useThisUnit =
  'use one ListenStream= with an absolute path in the socket unit, as packaging/stratalog.socket does';

/** Null if systemd passed no socket to this process. @throws UsageError */
export function passedSocket(environment: Environment, pid: number): PassedSocket | null {
  const [count, names] = [environment['LISTEN_FDS'] ?? '', environment['LISTEN_FDNAMES'] ?? ''];
  const isForUs = Number(environment['LISTEN_PID']) === pid;
  if (!isForUs || count === '' || count === '0') return null;
  if (count !== '1') {
    const what = /^[1-9]\d*$/.test(count) ? `${count} sockets` : `LISTEN_FDS=${count}`;
    throw new UsageError(
      `systemd passed ${what}${names === '' ? '' : ` (${names})`}, expected one socket; ${useThisUnit}`,
    );
  }
  const [passed] = passedSockets(environment, pid);
  if (passed === undefined) return null;
  const why = whyNotServed(passed);
  if (why === null) return passed;
  throw new UsageError(
    `cannot serve descriptor ${passed.fd} (${passed.name}) passed by systemd: ${why}`,
  );
}

function whyNotServed({ fd, name }: PassedSocket): string | null {
  const kind = socketKind(fd);
  if (kind === null) return `not a socket; ${useThisUnit}`;
  if (kind.family !== 'AF_UNIX') return `${kind.family} socket; ${useThisUnit}`;
  if (kind.type !== 'SOCK_STREAM') return `${kind.type} socket; ${useThisUnit}`;
  if (!kind.isListening) {
    return 'not listening; set ListenStream= and Accept=no in the socket unit';
  }
  if (isOurs(name)) return null;
  return 'unexpected name; remove FileDescriptorName= from the socket unit or set it to stratalog';
}

/** Without FileDescriptorName= the name is that of the socket unit (systemd.socket(5)). */
const isOurs = (name: string): boolean =>
  name === 'stratalog' || name === 'unknown' || name.endsWith('.socket');
