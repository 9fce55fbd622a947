/** The socket of a daemon, for commands that call it: its path, and whether a process listens. */
import { createConnection } from 'node:net';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { errnoOf, reasonOf, TimeLimitPassed } from '../../base/errors.js';

/** The configuration file is only read if no address is given. */
export async function addressOf(
  flags: { readonly address?: string },
  command: Command,
  root?: string,
): Promise<string> {
  const named = flags.address ?? process.env['STRATALOG_ADDRESS'] ?? '';
  if (named !== '') return resolve(named);
  // Loaded on demand: few commands need it, and it takes time to load.
  const { configOf } = await import('./config-options.js');
  return (await configOf(command, root)).config.address;
}

/** Connects once to get a specific error: gRPC would only report UNAVAILABLE. */
export function checkListening(address: string, limitMillis: number): Promise<void> {
  return new Promise((settle, reject) => {
    const socket = createConnection({ path: address });
    socket.setTimeout(limitMillis, () => {
      socket.destroy(new TimeLimitPassed(`a connection to ${address}`, limitMillis));
    });
    socket.once('connect', () => {
      socket.destroy();
      settle();
    });
    socket.once('error', (fault) => {
      reject(new Error(whyUnreachable(address, fault), { cause: fault }));
    });
  });
}

function whyUnreachable(address: string, fault: Error): string {
  const code = errnoOf(fault);
  if (code === 'ENOENT') {
    return `cannot connect to ${address}: socket does not exist; start the daemon, or give its socket with --address`;
  }
  if (code === 'ECONNREFUSED') {
    return `cannot connect to ${address}: connection refused; the daemon is not running, start it again`;
  }
  if (code === 'EACCES') {
    return `cannot connect to ${address}: permission denied; run as the owner of the socket, usually root`;
  }
  return `cannot connect to ${address}: ${reasonOf(fault)}`;
}
