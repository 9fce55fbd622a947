/**
 * `npm run sim`: a campaign of simulated runs, or one run again.
 *
 *   npm run sim -- --seeds 1000 [--from 1] [--steps 300] [--first]
 *                                              many seeds; --first stops at the first that fails
 *   npm run sim -- --seed 123 [--steps 77] [--trace]        one of them, with its event log
 */
import { parseArgs } from 'node:util';
import { runSimulation, type RunResult } from './simulation.js';
import { shrink } from './shrink.js';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    first: { type: 'boolean', default: false },
  },
});

function count(name: 'seeds' | 'from' | 'steps' | 'seed', text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new RangeError(`--${name} wants a whole number: ${text}`);
}

const steps = count('steps', values.steps);

if (values.seed === undefined)
  await campaign(count('from', values.from), count('seeds', values.seeds));
else await again(count('seed', values.seed));

async function campaign(from: number, seeds: number): Promise<void> {
  const began = performance.now();
  const counts = new Map<string, number>();
  let failed = 0;
  for (let seed = from; seed < from + seeds; seed += 1) {
    const result = await runSimulation(seed, steps);
    for (const [what, often] of result.counts) counts.set(what, (counts.get(what) ?? 0) + often);
    if (result.violation === null) continue;
    failed += 1;
    const least = values.first ? result : await shrink(result);
    const again = least.brokenAt ?? least.steps;
    console.log(`${least.violation}\n  npm run sim -- --seed ${seed} --steps ${again}`);
    if (values.first) break;
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${seeds} runs of ${steps} steps in ${seconds} s, ${failed} failed`);
  const often = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
  console.log(often.map(([what, times]) => `${what}: ${times}`).join('; '));
  if (failed > 0) process.exitCode = 1;
}

async function again(seed: number): Promise<void> {
  const result: RunResult = await runSimulation(seed, steps);
  if (values.trace) console.log(result.trace.join('\n'));
  console.log(`${result.digest}  seed ${seed}, ${steps} steps, ${result.lives} lives`);
  if (result.violation === null) return;
  console.log(result.violation);
  process.exitCode = 1;
}
