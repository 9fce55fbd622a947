/** Load for a long time, in six parts: what must stay flat is told for each. */
import { readdirSync, statSync } from 'node:fs';
import { inWorkspace, candidatesOf, say, type Programs } from './candidates.js';
import { descriptorsOf, memoryOf } from './process.js';
import { rowOf, type Row } from './report.js';
import { loadFor } from './single.js';

const parts = 6;
const clients = 8;
const methods = ['Prepare', 'Commit', 'Stat', 'Mounts', 'Remove'] as const;

interface Part {
  readonly calls: number;
  readonly resident: number;
  readonly descriptors: number;
  readonly logBytes: number;
  readonly p99: Readonly<Record<(typeof methods)[number], number>>;
}

/** One row a part, and the ratio of the last part's p99 to the first's for each method. */
export async function measureSoak(programs: Programs, minutes: number): Promise<readonly Row[]> {
  const candidate = candidatesOf(programs)[1];
  if (candidate === undefined) throw new Error('there is no candidate beside the peer');
  const measured = await inWorkspace(async (workspace) => {
    const daemon = candidate.make(workspace, 'snapshotter');
    await daemon.start();
    const found: Part[] = [];
    for (let part = 1; part <= parts; part += 1) {
      say(`soak, part ${part} of ${parts}`);
      const seconds = Math.max(1, (minutes * 60) / parts);
      const flags = ['-prefix', `soak-${part}`];
      const report = await loadFor(programs.load, daemon, seconds, clients, flags);
      const { resident } = await memoryOf(daemon.pid);
      found.push({
        calls: report.callsInAll,
        resident,
        descriptors: await descriptorsOf(daemon.pid),
        logBytes: bytesIn(`${daemon.root}/log`),
        p99: {
          Prepare: report.methods['Prepare']?.p99Micros ?? NaN,
          Commit: report.methods['Commit']?.p99Micros ?? NaN,
          Stat: report.methods['Stat']?.p99Micros ?? NaN,
          Mounts: report.methods['Mounts']?.p99Micros ?? NaN,
          Remove: report.methods['Remove']?.p99Micros ?? NaN,
        },
      });
    }
    await daemon.stop();
    return found;
  });
  const { name } = candidate;
  const row = (what: string, value: number, limit: string | null = null) =>
    rowOf(what, new Map([[name, [value]]]), limit);
  const [first, last] = [measured[0], measured.at(-1)];
  const growth = methods.map((method) =>
    row(
      `${method}, p99 of the last sixth by the first`,
      (last?.p99[method] ?? NaN) / (first?.p99[method] ?? NaN),
      '≤ 1.2',
    ),
  );
  const flat = measured.flatMap((part, index) => [
    row(`soak ${index + 1}/${parts}, calls`, part.calls),
    row(`soak ${index + 1}/${parts}, resident MiB`, part.resident),
    row(`soak ${index + 1}/${parts}, descriptors`, part.descriptors),
    row(`soak ${index + 1}/${parts}, log MB`, part.logBytes / 1e6),
  ]);
  return [...growth, ...flat];
}

function bytesIn(directory: string): number {
  return readdirSync(directory)
    .map((name) => statSync(`${directory}/${name}`, { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0);
}
