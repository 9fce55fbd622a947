/**
 * `npm run planted [-- NAME…]`: proves that the checks can fail. Each planted bug is put into a
 * copy of the tree, alone, and the check that it names must notice within its time; without any
 * bug every such check must pass. Ends with 1 when a bug survives or does not apply.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { tableLines } from '../../src/cli/terminal/table.js';
import { plantedBugs, type PlantedBug } from './patches.js';

const repository = resolve(import.meta.dirname, '../..');
/** A check that has not noticed by then has not noticed. */
const LIMIT_MILLIS = 240_000;
const SEEDS = '120';

interface Verdict {
  readonly verdict: 'caught' | 'SURVIVES' | 'DOES NOT APPLY' | 'TOO SLOW' | 'passes' | 'FAILS';
  /** The first line of what the check said. */
  readonly said: string;
  readonly seconds: number;
}

/** The tree as it is, changes that are not committed included, without what git ignores. */
function copyTreeTo(copy: string): void {
  for (const name of [
    'src',
    'test',
    'scripts',
    'package.json',
    'tsconfig.json',
    'vitest.config.ts',
  ]) {
    cpSync(join(repository, name), join(copy, name), { recursive: true });
  }
  for (const name of ['proto', 'docs', 'packaging', 'README.md', 'CHANGELOG.md']) {
    cpSync(join(repository, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(repository, 'node_modules'), join(copy, 'node_modules'));
}

function commandOf(caughtBy: string): readonly string[] {
  if (caughtBy !== 'sim') return ['vitest', 'run', '--bail', '1', caughtBy];
  return ['tsx', 'test/sim/run.ts', '--first', '--seeds', SEEDS];
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** The check that runs now; null between two. */
let running: ChildProcess | null = null;

/** Whatever belongs to the check that runs: it leads a process group of its own. */
function stopRunning(): void {
  if (running?.pid === undefined) return;
  try {
    process.kill(-running.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Leaves neither the copy nor the check behind when a signal ends this process. */
function cleanUpOnSignal(copy: string): void {
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.once(signal, () => {
      const check = running;
      const leave = () => {
        rmSync(copy, { recursive: true, force: true, maxRetries: 3 });
        // As a shell tells of a process that a signal has ended.
        process.exit(128 + number);
      };
      // What still runs would go on writing to the copy.
      if (check === null) leave();
      else check.once('exit', leave);
      stopRunning();
    });
  }
}

/** Runs a check in a process group of its own, which is killed when its time is over. */
function run(copy: string, caughtBy: string): Promise<Ended> {
  const child = spawn('npx', ['--no-install', ...commandOf(caughtBy)], {
    cwd: copy,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
  });
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (output += bytes.toString()));
  running = child;
  const timer = setTimeout(stopRunning, LIMIT_MILLIS);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      running = null;
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}

/** The line that says why a check failed: a rule of the simulation, or a test's assertion. */
function reasonIn(output: string): string {
  const lines = output.split('\n').filter((line) => !line.startsWith('npm warn'));
  const failed = lines.find((line) => /(AssertionError|Error|Violation|Invariant\w+): /.test(line));
  return (failed ?? lines.find((line) => line.trim() !== '') ?? '').trim().slice(0, 100);
}

function apply(copy: string, { path }: PlantedBug, how: readonly string[]): boolean {
  try {
    execFileSync('git', ['apply', ...how, path], { cwd: copy, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function timed(check: () => Promise<Omit<Verdict, 'seconds'>>): Promise<Verdict> {
  const began = performance.now();
  const verdict = await check();
  return { ...verdict, seconds: Math.round((performance.now() - began) / 1000) };
}

async function judge(copy: string, bug: PlantedBug): Promise<Omit<Verdict, 'seconds'>> {
  if (!apply(copy, bug, [])) return { verdict: 'DOES NOT APPLY', said: '' };
  try {
    const { code, output } = await run(copy, bug.caughtBy);
    if (code === null) return { verdict: 'TOO SLOW', said: '' };
    return code === 0
      ? { verdict: 'SURVIVES', said: '' }
      : { verdict: 'caught', said: reasonIn(output) };
  } finally {
    apply(copy, bug, ['--reverse']);
  }
}

/** Without a bug the check must pass, or it proves nothing. */
async function judgeCheck(copy: string, caughtBy: string): Promise<Omit<Verdict, 'seconds'>> {
  const { code, output } = await run(copy, caughtBy);
  return code === 0
    ? { verdict: 'passes', said: '' }
    : { verdict: 'FAILS', said: reasonIn(output) };
}

async function main(wanted: readonly string[]): Promise<void> {
  const bugs = plantedBugs().filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  const unknown = wanted.filter((name) => !bugs.some((bug) => bug.name === name));
  if (unknown.length > 0) throw new Error(`no such planted bug: ${unknown.join(', ')}`);
  const copy = mkdtempSync(join(tmpdir(), 'stratalog-planted-'));
  cleanUpOnSignal(copy);
  copyTreeTo(copy);
  const rows: string[][] = [];
  const unwell: string[] = [];
  const tell = (name: string, caughtBy: string, { verdict, said, seconds }: Verdict) => {
    if (verdict !== 'caught' && verdict !== 'passes') unwell.push(name);
    console.error(`${verdict}  ${name} (${caughtBy}, ${seconds} s) ${said}`);
    rows.push([name, caughtBy, verdict, String(seconds), said]);
  };
  try {
    for (const check of new Set(bugs.map(({ caughtBy }) => caughtBy))) {
      tell('(none)', check, await timed(() => judgeCheck(copy, check)));
    }
    for (const bug of bugs) tell(bug.name, bug.caughtBy, await timed(() => judge(copy, bug)));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
  const head = ['bug', 'check', 'verdict', 's', 'what the check said'];
  for (const line of tableLines(head, rows)) console.log(line);
  if (unwell.length > 0) process.exitCode = 1;
}

await main(process.argv.slice(2));
