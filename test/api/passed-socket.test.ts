/**
 * Goal: the daemon serves the one socket that systemd passes, and refuses anything else before it
 * touches the root. Method: perl makes the sockets and becomes the built command, as systemd does.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import {
  aDirectory,
  buildLimitMillis,
  builtCli,
  cleanUp,
  cliPath,
  stratalog,
  type Outcome,
} from '../cli/rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

/** A socket that listens on `$path`, as descriptor 3. */
const good = 'my $s = unix(SOCK_STREAM, $path); listen($s, 8) or die; pass($s, 3);';

/** Perl that has made its sockets, and is the daemon then. */
const asSystemd = (make: string, environment: Readonly<Record<string, string>>): string => `
  use Socket; use POSIX (); $^F = 20; our ($path, @command) = @ARGV; our @kept;
  sub unix { my ($type, $at) = @_; socket(my $s, PF_UNIX, $type, 0) or die $!;
    bind($s, pack_sockaddr_un($at)) or die $!; push @kept, $s; return $s }
  sub inet { my ($type) = @_; socket(my $s, PF_INET, $type, 0) or die $!;
    bind($s, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die $!; push @kept, $s; return $s }
  sub pass { my ($s, $fd) = @_; POSIX::dup2(fileno($s), $fd) or die $! }
  ${make}
  %ENV = (%ENV, LISTEN_PID => $$, LISTEN_FDS => '1', ${Object.entries(environment)
    .map(([name, value]) => `${name} => '${value}'`)
    .join(', ')});
  exec @command or die $!;
`;

interface Refused {
  readonly name: string;
  readonly make: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly why: RegExp;
}

const refused: readonly Refused[] = [
  {
    name: 'of datagrams',
    make: 'pass(unix(SOCK_DGRAM, $path), 3);',
    why: /cannot serve descriptor 3 \(unknown\) passed by systemd: SOCK_DGRAM socket; use one Lis/,
  },
  {
    name: 'of packets in sequence',
    make: 'my $s = unix(SOCK_SEQPACKET, $path); listen($s, 8); pass($s, 3);',
    why: /passed by systemd: SOCK_SEQPACKET socket; use one ListenStream= with an absolute path/,
  },
  {
    name: 'of the network',
    make: 'my $s = inet(SOCK_STREAM); listen($s, 8); pass($s, 3);',
    why: /passed by systemd: AF_INET socket; use one ListenStream=/,
  },
  {
    name: 'of datagrams of the network',
    make: 'pass(inet(SOCK_DGRAM), 3);',
    why: /passed by systemd: AF_INET socket; use one ListenStream=/,
  },
  {
    name: 'that does not listen',
    make: 'pass(unix(SOCK_STREAM, $path), 3);',
    why: /not listening; set ListenStream= and Accept=no in the socket unit/,
  },
  {
    name: 'that is a connection, as with Accept=yes',
    make: 'socketpair(my $a, my $b, PF_UNIX, SOCK_STREAM, 0); push @kept, $b; pass($a, 3);',
    environment: { LISTEN_FDNAMES: 'connection' },
    why: /descriptor 3 \(connection\).*not listening; set ListenStream= and Accept=no/,
  },
  {
    name: 'that is a file',
    make: 'open(my $s, "<", "/dev/null"); pass($s, 3);',
    why: /not a socket; use one ListenStream=/,
  },
  {
    name: 'that is not open',
    make: 'POSIX::close(3);',
    why: /not a socket; use one ListenStream=/,
  },
  {
    name: 'with the name of another service',
    make: good,
    environment: { LISTEN_FDNAMES: 'metrics' },
    why: /descriptor 3 \(metrics\).*unexpected name; remove FileDescriptorName= from/,
  },
  {
    name: 'beside another one',
    make: `${good} my $t = unix(SOCK_STREAM, "$path-2"); listen($t, 8); pass($t, 4);`,
    environment: { LISTEN_FDS: '2', LISTEN_FDNAMES: 'stratalog.socket:metrics' },
    why: /systemd passed 2 sockets \(stratalog\.socket:metrics\), expected one socket; use one Lis/,
  },
  {
    name: 'of a number that is none',
    make: good,
    environment: { LISTEN_FDS: '-1' },
    why: /systemd passed LISTEN_FDS=-1, expected one socket; use one ListenStream=/,
  },
  {
    name: 'of more than can be passed',
    make: good,
    environment: { LISTEN_FDS: '4294967295' },
    why: /systemd passed 4294967295 sockets, expected one socket/,
  },
];

const serve = (directory: string): string[] => [
  ...[process.execPath, cliPath, 'serve', '--config', '/dev/null', '--log-level', 'panic'],
  ...['--root', join(directory, 'root'), '--address', join(directory, 'unused.sock')],
];

describe('a socket is refused', () => {
  it.each(refused)('$name', async ({ make, environment = {}, why }) => {
    const directory = await aDirectory();
    const args = ['-e', asSystemd(make, environment), join(directory, 's'), ...serve(directory)];
    const { code, stderr } = await new Promise<Outcome>((resolve) => {
      const child = execFile('perl', args, { timeout: 25_000 }, (_error, stdout, text) => {
        resolve({ code: child.exitCode ?? -1, stdout, stderr: text });
      });
    });
    expect(stderr).toMatch(why);
    expect(code).toBe(2);
    expect(existsSync(join(directory, 'root'))).toBe(false);
  });
});

it.each([
  ['without a name', {}],
  ["by its unit's name", { LISTEN_FDNAMES: 'stratalog.socket' }],
  ['by the name that it may be given', { LISTEN_FDNAMES: 'stratalog' }],
])('serves the socket that it is passed, %s', async (_, environment) => {
  const directory = await aDirectory();
  const path = join(directory, 's');
  const args = ['-e', asSystemd(good, environment), path, ...serve(directory)];
  const child = spawn('perl', args, { stdio: 'ignore' });
  const ended = once(child, 'exit');
  try {
    await until('the daemon to serve', async () => {
      const { code } = await stratalog(['health', '--address', path]);
      return code === 0;
    });
    expect(existsSync(join(directory, 'unused.sock'))).toBe(false);
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
});
