/**
 * The socket of socket activation, sd_listen_fds(3): one unix socket that listens. Anything else
 * would be served without a word and reached by no client, or by clients of another service.
 */
import { UsageError } from '../../base/errors.js';
import { passedSockets, socketKind, type PassedSocket } from '../../host/process/sockets.js';

type Environment = Readonly<Record<string, string | undefined>>;

const useThisUnit =
  'use one ListenStream= with an absolute path in the socket unit, as packaging/stratalog.socket does';

/** Null when systemd passes none to this process. @throws UsageError */
export function passedSocket(environment: Environment, pid: number): PassedSocket | null {
  const [count, names] = [environment['LISTEN_FDS'] ?? '', environment['LISTEN_FDNAMES'] ?? ''];
  const isForUs = Number(environment['LISTEN_PID']) === pid;
  if (!isForUs || count === '' || count === '0') return null;
  if (count !== '1') {
    const what = /^[1-9]\d*$/.test(count) ? `${count} sockets` : `LISTEN_FDS=${count}`;
    throw new UsageError(
      `systemd passes ${what}${names === '' ? '' : ` (${names})`}, and one is served; ${useThisUnit}`,
    );
  }
  const [passed] = passedSockets(environment, pid);
  if (passed === undefined) return null;
  const why = whyNotServed(passed);
  if (why === null) return passed;
  throw new UsageError(
    `systemd passes descriptor ${passed.fd} (${passed.name}), which cannot be served: ${why}`,
  );
}

function whyNotServed({ fd, name }: PassedSocket): string | null {
  const kind = socketKind(fd);
  if (kind === null) return `it is no socket; ${useThisUnit}`;
  if (kind.family !== 'AF_UNIX') return `it is an ${kind.family} socket; ${useThisUnit}`;
  if (kind.type !== 'SOCK_STREAM') return `it is a ${kind.type} socket; ${useThisUnit}`;
  if (!kind.isListening) {
    return 'it does not listen; set Accept=no in the socket unit, and ListenStream=';
  }
  if (isOurs(name)) return null;
  return 'its name is another one; leave FileDescriptorName= out of the socket unit, or set it to stratalog';
}

/** Without FileDescriptorName= it is the name of the socket unit, which may be any (systemd.socket(5)). */
const isOurs = (name: string): boolean =>
  name === 'stratalog' || name === 'unknown' || name.endsWith('.socket');
