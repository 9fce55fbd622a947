/**
 * `npm run bench`: Stratalog beside containerd's overlayfs snapshotter, both behind the same gRPC
 * service, with roots on the same disk, turn about. Numbers of one machine on one day say little,
 * so each turn measures both and what counts is the ratio, with its spread over the turns.
 *
 *     npm run bench -- --only list,memory --turns 5 --json
 *     npm run bench -- --only soak --minutes 60
 *     npm run bench -- --only history --events 10000000
 *
 * TMPDIR chooses the disk. Nothing is asserted: a slow machine is no failure. docs/performance.md
 * says what the rows mean and what bounds each.
 */
import { parseArgs } from 'node:util';
import { run } from '../../scripts/rig/command.js';
import { repository } from '../../scripts/rig/daemon.js';
import { buildGo } from '../../scripts/rig/go-programs.js';
import { closeOnSignals } from '../../scripts/rig/workspace.js';
import { candidatesOf, type Programs } from './candidates.js';
import { measureCleanups } from './cleanup.js';
import { measureHistory } from './history.js';
import { measureMany } from './many.js';
import { measureOnePrepare } from './one-prepare.js';
import { measurePulls } from './pull.js';
import { machine, printTable, type Row } from './report.js';
import { measureCalls } from './single.js';
import { measureRestarts } from './restart.js';
import { measureSoak } from './soak.js';

const sections = [
  'single',
  'prepare',
  'mix',
  'list',
  'memory',
  'start',
  'restart',
  'cleanup',
  'pull',
  'soak',
  'history',
] as const;
const usual = 'single,prepare,mix,list,memory,start,restart,cleanup,pull';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: usual },
    turns: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '60' },
    events: { type: 'string', default: '10000000' },
    snapshots: { type: 'string', default: '10000,100000' },
    json: { type: 'boolean', default: false },
  },
});

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} takes numbers above 0, and ${text} is none`);
  return value;
}

const wanted = new Set(values.only.split(','));
for (const name of wanted) {
  if (!sections.some((section) => section === name)) {
    throw new Error(`--only takes ${sections.join(', ')}, and not ${name}`);
  }
}
const has = (section: (typeof sections)[number]): boolean => wanted.has(section);
const turns = Math.ceil(positive('turns', values.turns));
const seconds = positive('seconds', values.seconds);
const sizes = values.snapshots.split(',').map((size) => positive('snapshots', size));

closeOnSignals();
await run('npm', ['run', '--silent', 'build'], { cwd: repository, timeoutMillis: 300_000 });
const needsPrograms = [...wanted].some((section) => !['history', 'restart'].includes(section));
const programs: Programs = needsPrograms
  ? {
      peer: await buildGo('program', 'test/bench/go'),
      load: await buildGo('program', 'test/bench/load'),
    }
  : { peer: '', load: '' };

const rows: Row[] = [];
if (has('single') || has('mix')) {
  const which = { single: has('single'), mix: has('mix') };
  rows.push(...(await measureCalls(programs, { turns, seconds, ...which })));
}
if (has('prepare')) rows.push(...(await measureOnePrepare(programs, { turns, seconds })));
if (has('list') || has('memory') || has('start')) {
  const which = { list: has('list'), memory: has('memory'), start: has('start') };
  rows.push(...(await measureMany(programs, { turns, sizes, ...which })));
}
if (has('restart')) rows.push(...(await measureRestarts(3 * turns, 100_000)));
if (has('cleanup')) rows.push(...(await measureCleanups(programs, { turns, events: 16_000 })));
if (has('pull')) rows.push(...(await measurePulls(programs, turns)));
if (has('soak')) {
  rows.push(...(await measureSoak(programs, positive('minutes', values.minutes))));
}

if (has('history')) {
  const events = positive('events', values.events);
  const historyOptions = { events, snapshots: 10_000, checkpointEveryEvents: 250_000 };
  rows.push(...(await measureHistory(historyOptions)));
}

if (values.json) {
  const json = { machine: { ...machine(), turns, seconds }, rows };
  process.stdout.write(`${JSON.stringify(json, null, 2)}\n`);
} else {
  const names = candidatesOf(programs).map(({ name }) => name);
  printTable(rows, names);
}
