/**
 * Where the time of one Prepare goes: what the client waits, what the daemon's own metrics say of
 * the call, and what they say of the log's write. Means, because only those can be subtracted.
 */
import { get } from 'node:http';
import { Daemon } from '../../scripts/rig/daemon.js';
import { inTurns, inWorkspace, say, type Programs } from './candidates.js';
import { rowOf, type Row } from './report.js';
import { loadFor, WARM_UP } from './single.js';

interface Split {
  readonly client: number;
  readonly call: number;
  readonly append: number;
}

const candidate = 'stratalog metadata';

export async function measureOnePrepare(
  { load }: Programs,
  options: { readonly turns: number; readonly seconds: number },
): Promise<readonly Row[]> {
  const measured = await inTurns(options.turns, [candidate], (_name, turn) =>
    inWorkspace(async (workspace) => {
      say(`one Prepare, turn ${turn}`);
      const metrics = workspace.path('metrics.sock');
      const daemon = Daemon.stratalog(
        workspace,
        { config: 'durability = "metadata"\n', flags: ['--metrics-address', metrics] },
        'snapshotter',
      );
      await daemon.start();
      await loadFor(load, daemon, WARM_UP, 32, ['-prefix', 'warm']);
      const before = await totalsOf(metrics);
      const report = await loadFor(load, daemon, options.seconds, 1, ['-prefix', 'alone']);
      const after = await totalsOf(metrics);
      await daemon.stop();
      const mean = (what: keyof Totals): number =>
        ((after[what].sum - before[what].sum) / (after[what].count - before[what].count)) * 1e6;
      const client = report.methods['Prepare']?.meanMicros ?? NaN;
      return { client, call: mean('prepare'), append: mean('append') };
    }),
  );
  const row = (what: string, read: (split: Split) => number): Row =>
    rowOf(what, new Map([...measured].map(([name, splits]) => [name, splits.map(read)])));
  return [
    row('one Prepare: what the client waits, µs', ({ client }) => client),
    row('of it: socket, HTTP/2 and gRPC framing, client, µs', ({ client, call }) => client - call),
    row('of it: decide, fold, encode, wake-ups, reply, µs', ({ call, append }) => call - append),
    row("of it: the log's write and sync, µs", ({ append }) => append),
  ];
}

interface Sum {
  readonly sum: number;
  readonly count: number;
}

interface Totals {
  readonly prepare: Sum;
  readonly append: Sum;
}

async function totalsOf(metricsSocket: string): Promise<Totals> {
  const text = await textOf(metricsSocket);
  const value = (name: string): number => {
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    return Number(line?.split(' ').at(-1) ?? 0);
  };
  const totals = (name: string, labels: string): Sum => ({
    sum: value(`${name}_sum${labels}`),
    count: value(`${name}_count${labels}`),
  });
  return {
    prepare: totals('stratalog_snapshot_request_duration_seconds', '{method="Prepare"}'),
    append: totals('stratalog_log_append_duration_seconds', ''),
  };
}

function textOf(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path: '/metrics' }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
}
