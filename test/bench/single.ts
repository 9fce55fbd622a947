/** Single calls with one client, and the mix of all calls with many. */
import { z } from 'zod';
import { run } from '../../scripts/rig/command.js';
import type { Daemon } from '../../scripts/rig/daemon.js';
import {
  candidatesOf,
  inTurns,
  inWorkspace,
  say,
  type Candidate,
  type Programs,
} from './candidates.js';
import { processorMicros } from './process.js';
import { rowOf, type Row } from './report.js';

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

export type LoadReport = z.infer<typeof reportSchema> & {
  /** Of the snapshotter's process, all its threads; says least about what else the machine does. */
  readonly processorMicrosPerCall: number;
};

const methods = ['Prepare', 'View', 'Commit', 'Stat', 'Mounts', 'Remove'] as const;
const clientsOfACrowd = 32;

/**
 * Seconds of load before anything counts, for everybody: a daemon runs for weeks, and what it does
 * in its first seconds (compiling, for one of the two) says nothing of the rest.
 */
export const WARM_UP = 8;

/** Lets the Go client load a daemon for so many seconds. */
export async function loadFor(
  load: string,
  daemon: Daemon,
  seconds: number,
  clients: number,
  flags: readonly string[],
): Promise<LoadReport> {
  const args = ['-address', daemon.address, '-clients', String(clients), ...flags];
  const before = await processorMicros(daemon.pid);
  const { stdout } = await run(load, [...args, '-duration', `${seconds}s`], {
    timeoutMillis: 60_000 + seconds * 4_000,
  });
  const spent = (await processorMicros(daemon.pid)) - before;
  const report = reportSchema.parse(JSON.parse(stdout));
  return { ...report, processorMicrosPerCall: spent / report.callsInAll };
}

export async function measureCalls(
  programs: Programs,
  options: {
    readonly turns: number;
    readonly seconds: number;
    readonly single: boolean;
    readonly mix: boolean;
  },
): Promise<readonly Row[]> {
  const { turns, seconds } = options;
  const rows: Row[] = [];
  if (options.single) {
    const alone = await measured(programs, turns, (daemon) =>
      loadFor(programs.load, daemon, seconds, 1, ['-views', '-prefix', 'alone']),
    );
    const row = (what: string, read: (report: LoadReport) => number) =>
      rows.push(rowOf(what, numbersOf(alone, read)));
    for (const method of methods) {
      row(`${method}, 1 client, p50 µs`, (report) => report.methods[method]?.p50Micros ?? NaN);
      row(`${method}, 1 client, p99 µs`, (report) => report.methods[method]?.p99Micros ?? NaN);
    }
    row('calls per second, 1 client', (report) => report.callsPerSecond);
    row('processor µs a call, 1 client', (report) => report.processorMicrosPerCall);
  }
  if (options.mix) {
    const crowd = await measured(programs, turns, (daemon) =>
      loadFor(programs.load, daemon, seconds, clientsOfACrowd, ['-prefix', 'crowd']),
    );
    const clients = `${clientsOfACrowd} clients`;
    rows.push(
      rowOf(
        `calls per second, ${clients}`,
        numbersOf(crowd, (report) => report.callsPerSecond),
      ),
      rowOf(
        `processor µs a call, ${clients}`,
        numbersOf(crowd, (report) => report.processorMicrosPerCall),
      ),
    );
  }
  return rows;
}

/** A workspace for each turn: the root is as new and as small for one as for the other. */
function measured(
  programs: Programs,
  turns: number,
  measure: (daemon: Daemon) => Promise<LoadReport>,
): Promise<ReadonlyMap<Candidate, readonly LoadReport[]>> {
  return inTurns(turns, candidatesOf(programs), (candidate, turn) =>
    inWorkspace(async (workspace) => {
      say(`calls, turn ${turn}: ${candidate.name}`);
      const daemon = candidate.make(workspace, 'snapshotter');
      await daemon.start();
      await loadFor(programs.load, daemon, WARM_UP, clientsOfACrowd, ['-prefix', 'warm']);
      const report = await measure(daemon);
      await daemon.stop();
      return report;
    }),
  );
}

function numbersOf(
  measured: ReadonlyMap<Candidate, readonly LoadReport[]>,
  read: (report: LoadReport) => number,
): ReadonlyMap<string, readonly number[]> {
  return new Map([...measured].map(([{ name }, reports]) => [name, reports.map(read)]));
}
