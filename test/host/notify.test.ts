/** A datagram socket of Python stands in for the service manager: Node has none. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import { notify, watchdogMillis } from '../../src/host/process/notify.js';
import { temporaryDirectory } from './support.js';
import type { TemporaryDirectory } from './support.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind(chr(0) + name[1:] if name[0] == '@' else name)
print('bound', flush=True)
sys.stdout.write(s.recv(4096).decode())
`;

async function received(address: string, send: () => void): Promise<string> {
  const child = spawn('python3', ['-c', receiver, address]);
  try {
    await once(child.stdout, 'data');
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    send();
    await once(child, 'close');
    return text.trimStart();
  } finally {
    child.kill('SIGKILL');
  }
}

test.each(['path', 'abstract'])('sends one datagram to a socket by %s', async (kind) => {
  const address = kind === 'path' ? `${directory.path}/notify` : `@${directory.path}/notify`;
  const text = await received(address, () => {
    const notification = { ready: true, status: 'serving\nMAINPID=1', watchdog: true };
    expect(notify(address, notification)).toBe(true);
  });
  expect(text).toBe('READY=1\nSTATUS=serving MAINPID=1\nWATCHDOG=1');
});

test('nobody to notify is no fault', () => {
  expect(notify(undefined, { ready: true })).toBe(false);
  expect(notify('', { ready: true })).toBe(false);
});

test('answers a fault instead of throwing it', () => {
  const missing = notify(`${directory.path}/none`, { stopping: true });
  expect(missing).toBeInstanceOf(HostFault);
  expect(missing).toMatchObject({ code: 'ENOENT' });
  expect(notify('vsock:2:1234', { ready: true })).toMatchObject({ code: 'EINVAL' });
  expect(notify(`/${'a'.repeat(200)}`, { ready: true })).toMatchObject({ code: 'EINVAL' });
});

test('the watchdog counts for the process that it names', () => {
  expect(watchdogMillis({}, 5)).toBeNull();
  expect(watchdogMillis({ WATCHDOG_USEC: '30000000' }, 5)).toBe(30_000);
  expect(watchdogMillis({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '5' }, 5)).toBe(30_000);
  expect(watchdogMillis({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '6' }, 5)).toBeNull();
  expect(watchdogMillis({ WATCHDOG_USEC: 'soon' }, 5)).toBeNull();
});
