/**
 * A client of the snapshots service in a process of its own: reads one call a line from standard
 * input, as JSON, and answers each with a line. Driven by client-process.ts. What follows the
 * socket on the command line tells programs apart.
 */
import { createInterface } from 'node:readline';
import { SnapshotsClient } from '../faults/client.js';
import type { ClientCall } from './client-process.js';

const client = new SnapshotsClient(process.argv[2] ?? '');
await client.connected();
console.log(JSON.stringify('connected'));
for await (const line of createInterface(process.stdin)) {
  const { method, words, labels } = JSON.parse(line) as ClientCall;
  const answer = await call(method, words, new Map(Object.entries(labels)));
  console.log(
    JSON.stringify(answer, (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    ),
  );
}
client.close();

function call(
  method: ClientCall['method'],
  [first = '', second = '']: readonly string[],
  labels: ReadonlyMap<string, string>,
): Promise<unknown> {
  switch (method) {
    case 'prepare':
      return client.prepare(first, second, labels);
    case 'view':
      return client.view(first, second, labels);
    case 'commit':
      return client.commit(first, second, labels);
    case 'update':
      return client.update(first, labels, []);
    case 'mounts':
      return client.mounts(first);
    case 'remove':
      return client.remove(first);
    case 'cleanup':
      return client.cleanup();
  }
}
