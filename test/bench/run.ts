/**
 * `npm run bench`: Stratalog beside containerd's overlayfs snapshotter, both behind the same gRPC
 * service, with roots on the same disk, turn about. Numbers of one machine on one day say little,
 * so each turn measures both and what counts is the ratio, with its spread over the turns.
 *
 *     npm run bench -- --turns 5 --seconds 5 --json
 *
 * TMPDIR chooses the disk. Nothing is asserted: a slow machine is no failure.
 */
import { cpus, release } from 'node:os';
import { readFile, statfs } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { z } from 'zod';
import { run } from '../../scripts/rig/command.js';
import { Daemon, repository } from '../../scripts/rig/daemon.js';
import { buildGo } from '../../scripts/rig/go-programs.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { type Ratio, ratioOf } from './ratio.js';

const reportSchema = z.object({
  clients: z.number(),
  seconds: z.number(),
  calls: z.number(),
  callsInAll: z.number(),
  callsPerSecond: z.number(),
  methods: z.record(
    z.string(),
    z.object({
      calls: z.number(),
      meanMicros: z.number(),
      p50Micros: z.number(),
      p99Micros: z.number(),
    }),
  ),
});
type Report = z.infer<typeof reportSchema> & {
  /** Of the snapshotter's process, all its threads; says least about what else the machine does. */
  readonly processorMicrosPerCall: number;
};

/** One turn of one candidate: latencies with one client, throughput with many. */
interface Turn {
  readonly alone: Report;
  readonly crowd: Report;
}

interface Candidate {
  readonly name: string;
  readonly make: (workspace: Workspace, name: string) => Daemon;
}

const methods = ['Prepare', 'View', 'Commit', 'Stat', 'Mounts', 'Remove'] as const;
const clientsOfACrowd = 32;
const tmpfsType = 0x01021994;

const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const turns = Number(values.turns);
const seconds = Number(values.seconds);
if (!(turns >= 1) || !(seconds > 0)) throw new Error('--turns and --seconds are numbers above 0');

await run('npm', ['run', '--silent', 'build'], { cwd: repository, timeoutMillis: 300_000 });
const peer = await buildGo('program', 'test/bench/go');
const load = await buildGo('program', 'test/bench/load');

/** The first is what the others are divided by. */
const candidates: readonly [Candidate, ...Candidate[]] = [
  { name: 'overlayfs', make: (workspace, name) => Daemon.peer(workspace, peer, name) },
  { name: 'stratalog metadata', make: stratalogWith('metadata') },
  { name: 'stratalog data', make: stratalogWith('data') },
];

function stratalogWith(durability: 'data' | 'metadata'): Candidate['make'] {
  return (workspace, name) =>
    Daemon.stratalog(workspace, { config: `durability = "${durability}"\n` }, name);
}

async function measure(daemon: Daemon, clients: number, flags: readonly string[]): Promise<Report> {
  const args = ['-address', daemon.address, '-clients', String(clients), ...flags];
  const before = await processorMicros(daemon.pid);
  const { stdout } = await run(load, [...args, '-duration', `${seconds}s`], {
    timeoutMillis: 60_000 + seconds * 4_000,
  });
  const spent = (await processorMicros(daemon.pid)) - before;
  const report = reportSchema.parse(JSON.parse(stdout));
  return { ...report, processorMicrosPerCall: spent / report.callsInAll };
}

/** User and system time of a process, by proc_pid_stat(5); a tick is 10 ms everywhere. */
async function processorMicros(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

async function takeTurn(candidate: Candidate, turn: number): Promise<Turn> {
  // A workspace for each: the root is as new and as small for one as for the other.
  const workspace = await Workspace.create('strata-bench-');
  try {
    const { type } = await statfs(workspace.directory);
    if (type === tmpfsType) throw new Error('TMPDIR lies in memory: nothing would reach a disk');
    const daemon = candidate.make(workspace, 'snapshotter');
    await daemon.start();
    say(`turn ${turn}: ${candidate.name}`);
    const alone = await measure(daemon, 1, ['-views', '-prefix', 'alone']);
    const crowd = await measure(daemon, clientsOfACrowd, ['-prefix', 'crowd']);
    await daemon.stop();
    return { alone, crowd };
  } finally {
    await workspace.close();
  }
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

const measured = new Map<string, Turn[]>(candidates.map(({ name }) => [name, []]));
for (let turn = 1; turn <= turns; turn += 1) {
  // Who comes first changes, so that a disk that gets slower is nobody's disadvantage.
  const order = turn % 2 === 1 ? candidates : candidates.toReversed();
  for (const candidate of order) {
    measured.get(candidate.name)?.push(await takeTurn(candidate, turn));
  }
}

interface Row {
  readonly what: string;
  /** By candidate; the first is the peer. */
  readonly ratios: Readonly<Record<string, Ratio>>;
}

function row(what: string, read: (turn: Turn) => number): Row {
  const numbers = (name: string) => (measured.get(name) ?? []).map(read);
  const [first] = candidates;
  return {
    what,
    ratios: Object.fromEntries(
      candidates.map(({ name }) => [name, ratioOf(numbers(name), numbers(first.name))]),
    ),
  };
}

const rows: readonly Row[] = [
  ...methods.flatMap((method) => [
    row(`${method}, 1 client, p50 µs`, ({ alone }) => alone.methods[method]?.p50Micros ?? NaN),
    row(`${method}, 1 client, p99 µs`, ({ alone }) => alone.methods[method]?.p99Micros ?? NaN),
  ]),
  row('calls per second, 1 client', ({ alone }) => alone.callsPerSecond),
  row(`calls per second, ${clientsOfACrowd} clients`, ({ crowd }) => crowd.callsPerSecond),
  row('processor µs a call, 1 client', ({ alone }) => alone.processorMicrosPerCall),
  row(
    `processor µs a call, ${clientsOfACrowd} clients`,
    ({ crowd }) => crowd.processorMicrosPerCall,
  ),
];

const machine = {
  node: process.version,
  kernel: release(),
  cpus: cpus().length,
  model: cpus()[0]?.model ?? 'unknown',
  turns,
  seconds,
};

if (values.json) {
  const json = { machine, rows, turns: Object.fromEntries(measured) };
  process.stdout.write(`${JSON.stringify(json, null, 2)}\n`);
} else {
  const [first, ...others] = candidates;
  const table = new Table({
    head: ['', first.name, ...others.flatMap(({ name }) => [name, 'ratio (min … max)'])],
    style: { head: [], border: [] },
  });
  for (const { what, ratios } of rows) {
    const cells = others.flatMap(({ name }) => {
      const ratio = ratios[name];
      if (ratio === undefined) return ['', ''];
      const { value, median, min, max } = ratio;
      const spread = `${median.toFixed(2)} (${min.toFixed(2)} … ${max.toFixed(2)})`;
      return [value.toFixed(0), spread];
    });
    table.push([what, ratios[first.name]?.value.toFixed(0) ?? '', ...cells]);
  }
  process.stdout.write(`${table.toString()}\n${JSON.stringify(machine)}\n`);
}
