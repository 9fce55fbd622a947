/** The socket of a daemon, for commands that speak to one: which it is, and whether somebody listens. */
import { createConnection } from 'node:net';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { errnoOf, reasonOf, TimeLimitPassed } from '../../base/errors.js';

/** A socket that is named needs no configuration file. */
export async function addressOf(
  flags: { readonly address?: string },
  command: Command,
  root?: string,
): Promise<string> {
  const named = flags.address ?? process.env['STRATALOG_ADDRESS'] ?? '';
  if (named !== '') return resolve(named);
  // Few commands need it, and it takes time to load.
  const { configOf } = await import('./config-options.js');
  return (await configOf(command, root)).config.address;
}

/** Connects once, for a message that names what is wrong: gRPC would only say UNAVAILABLE. */
export function reach(address: string, limitMillis: number): Promise<void> {
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
    return `there is no socket ${address}: start the daemon, or name its socket with --address`;
  }
  if (code === 'ECONNREFUSED') {
    return `nobody listens on ${address}: the daemon is not running any more; start it again`;
  }
  if (code === 'EACCES') {
    return `${address} may not be used by this user: run it as the socket's owner, usually root`;
  }
  return `${address} cannot be reached: ${reasonOf(fault)}`;
}
