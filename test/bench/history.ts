/**
 * What the past costs: the state at any of ten million positions, the events of one snapshot, a
 * position by its time, a name that was once borne, and a verify of the whole log beside a plain
 * read of the same files. Each question is asked by a process of its own, because that is what a
 * command pays for.
 */
import { spawn } from 'node:child_process';
import { rename, rm, stat } from 'node:fs/promises';
import { readdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { run } from '../../scripts/rig/command.js';
import { repository } from '../../scripts/rig/daemon.js';
import { RELEASE } from '../../src/api/release.js';
import { threadedChecker } from '../../src/api/root/segment-checker.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { listLog, withFile } from '../../src/log/files.js';
import { position, unixNanos, formatTime, type SnapshotId } from '../../src/base/units.js';
import { bareName } from '../../src/inspect/events/event-names.js';
import { snapshotTexts } from '../../src/inspect/archive/indexed-texts.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import { makeIndex, writeIndex } from '../../src/log/index/index-files.js';
import { IndexedLog } from '../../src/log/index/indexed-log.js';
import { holdRoot } from '../../src/maintenance/hold-root.js';
import { SegmentChecks } from '../../src/snapshotter/segment-checks.js';
import { inWorkspace, say } from './candidates.js';
import { populateStratalog, type Populated } from './populate.js';
import { rowOf, type Row } from './report.js';

export interface HistoryOptions {
  readonly events: number;
  readonly snapshots: number;
  readonly checkpointEveryEvents: number;
}

const questions = 20;
const name = 'stratalog metadata';
const ms = 1e-6;

/** What a process was asked, and what it cost. */
interface Asked {
  readonly wall: number;
  readonly processor: number;
  /** MiB. */
  readonly peak: number;
}

/** What a process says of itself at its end; its own peak, and not that of whoever began it. */
const atExit = `
  const { readFileSync } = require('node:fs');
  process.on('exit', () => {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    const [, peak] = /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
    const processor = (userCPUTime + systemCPUTime) / 1e3;
    console.error(JSON.stringify({ processor, peak: Number(peak) / 1024 }));
  });
`;

const built = (path: string): string =>
  JSON.stringify(pathToFileURL(`${repository}/dist/${path}`).href);

/** Text of a program that asks the archive one thing, with what is built. */
const askingArchive = (root: string, question: string): string => `
  import { systemDisk } from ${built('host/files/disk.js')};
  import { RootArchive } from ${built('inspect/archive/root-archive.js')};
  const archive = new RootArchive(systemDisk(), ${JSON.stringify(root)});
  ${question}
`;

const command = `${repository}/dist/bin/stratalog.cjs`;

/** @param args a program and what it is given */
async function ask(root: string, asked: readonly string[]): Promise<Asked> {
  const args = ['--require', fileOf(`${root}-exit.cjs`, atExit), ...asked];
  const begun = process.hrtime.bigint();
  const { stderr } = await run(process.execPath, args, { timeoutMillis: 600_000 });
  const wall = Number(process.hrtime.bigint() - begun) * ms;
  const { processor, peak } = JSON.parse(stderr) as Omit<Asked, 'wall'>;
  return { wall, processor, peak };
}

/** In a file: threads would take over the flags of a text on the command line, and fail. */
const programFile = (root: string, text: string): string => fileOf(`${root}-program.mjs`, text);

function fileOf(path: string, text: string): string {
  writeFileSync(path, text);
  return path;
}

export async function measureHistory(options: HistoryOptions): Promise<readonly Row[]> {
  return inWorkspace(async (workspace) => {
    const root = workspace.path('root');
    const { events, snapshots, checkpointEveryEvents } = options;
    say(`writing ${events} events`);
    const populated = await populateStratalog(root, {
      snapshots,
      events,
      directories: false,
      checkpointEveryEvents,
    });
    await run('sync', [], { timeoutMillis: 600_000 });
    const rows = [
      // First: the one who holds the log begins a segment, and the one before needs an index too.
      ...(await summing(root)),
      ...(await indexing(root)),
      ...(await asking(root, options, populated, 'by index')),
      ...(await verifying(root)),
    ];
    await setIndexesAside(root);
    rows.push(...(await asking(root, options, populated, 'without indexes', 3)));
    return rows;
  });
}

const one = (what: string, value: number, limit: string | null = null): Row =>
  rowOf(what, new Map([[name, [value]]]), limit);

/** What a daemon does in the background, all at once. */
async function indexing(root: string): Promise<readonly Row[]> {
  const disk = systemDisk();
  const segments = await new IndexedLog({ disk, root }).segments();
  const millis: number[] = [];
  for (const [at, segment] of segments.entries()) {
    const next = segments[at + 1];
    if (next === undefined) break;
    const before = process.cpuUsage();
    const bytes = await withFile(disk, segment.path, 'read', (file) =>
      makeIndex(file, segment, next, { breathes: true, texts: snapshotTexts }),
    );
    if (bytes === null) throw new Error('an index was given up');
    await writeIndex(disk, root, segment.header.firstPosition, bytes);
    const { user, system } = process.cpuUsage(before);
    millis.push((user + system) / 1000);
  }
  const sizes = { seg: 0, index: 0, checkpoint: 0 };
  for (const file of readdirSync(`${root}/log`)) {
    const kind = file.slice(file.lastIndexOf('.') + 1);
    if (kind in sizes)
      sizes[kind as keyof typeof sizes] += (await stat(`${root}/log/${file}`)).size;
  }
  const mebibytes = 1024 * 1024;
  return [
    rowOf('an index made, processor ms', new Map([[name, millis]])),
    one('segments, MiB', sizes.seg / mebibytes),
    one('indexes, MiB', sizes.index / mebibytes),
    one('checkpoints, MiB', sizes.checkpoint / mebibytes),
  ];
}

/** As a daemon does it, without its rests. */
async function summing(root: string): Promise<readonly Row[]> {
  say('checking full segments');
  const disk = systemDisk();
  const clock = {
    ...systemClock(),
    schedule: (_millis: number, callback: () => void) => {
      const soon = setImmediate(callback);
      return () => {
        clearImmediate(soon);
      };
    },
  };
  const { segments } = await listLog(disk, root);
  const last = segments.at(-1)?.position ?? 0;
  const checker = threadedChecker(() => undefined);
  const problems: string[] = [];
  const onProblem = (message: string) => {
    problems.push(message);
  };
  const hold = {
    ...{ root, disk, clock, onWarning: onProblem },
    writtenBy: `stratalog ${RELEASE}`,
    holder: { pid: process.pid, host: '', command: 'bench' },
  };
  const before = process.cpuUsage();
  await holdRoot(hold, async (held) => {
    const dispatcher = { durable: held.replay.forest, record: held.record.bind(held) };
    const { log } = held;
    const checks = new SegmentChecks({ disk, root, log, dispatcher, clock, checker, onProblem });
    while (held.replay.forest.checkedTo < last && problems.length === 0) await sleep(50);
    checks.close();
    if (problems.length > 0) throw new Error(problems.join('; '));
  });
  await checker.close();
  const { user, system } = process.cpuUsage(before);
  const each = (user + system) / 1000 / Math.max(1, segments.length - 1);
  return [one('a full segment checked, processor ms', each)];
}

async function setIndexesAside(root: string): Promise<void> {
  for (const file of readdirSync(`${root}/log`).filter((found) => found.endsWith('.index'))) {
    await rename(`${root}/log/${file}`, `${root}/${file}`);
    await rm(`${root}/${file}`);
  }
}

/** Spread over the log, and the same in each run. */
function spread(index: number, below: number): number {
  return Math.floor(((index * 0.618_033_988_75) % 1) * below);
}

async function asking(
  root: string,
  { events }: HistoryOptions,
  { ids, nextId }: Populated,
  how: string,
  count = questions,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const several = async (
    what: string,
    limit: string | null,
    question: (at: number) => readonly string[],
  ) => {
    say(`${what}, ${how}`);
    const asked: Asked[] = [];
    for (let at = 1; at <= count; at += 1) asked.push(await ask(root, question(at)));
    const by = (read: (one: Asked) => number) => new Map([[name, asked.map(read)]]);
    const most = (read: (one: Asked) => number) => Math.max(...asked.map(read));
    rows.push(
      rowOf(
        `${what}, ${how}, ms`,
        by(({ wall }) => wall),
        limit,
      ),
      one(
        `${what}, ${how}, most ms`,
        most(({ wall }) => wall),
        limit,
      ),
      rowOf(
        `${what}, ${how}, processor ms`,
        by(({ processor }) => processor),
      ),
      one(
        `${what}, ${how}, peak MiB`,
        most(({ peak }) => peak),
        '≤ 300',
      ),
    );
  };
  const of = (...args: readonly string[]) => [command, ...args, '--root', root];
  await several('nothing but a start of node', null, () => [programFile(root, '')]);
  await several('state --at', '≤ 1000', (at) => of('state', '-q', '--at', `${spread(at, events)}`));
  const layers = new Set<number>(ids);
  await several('history of a snapshot that is gone', '≤ 300', (at) => {
    const id = spread(at, nextId - 2) + 1;
    return of('history', '-q', String(layers.has(id) ? id + 1 : id));
  });
  const layer = (at: number): SnapshotId => ids[spread(at, ids.length)] ?? nextId;
  await several('history of a layer and its 200 children', '≤ 300', (at) =>
    of('history', '-q', String(layer(at))),
  );
  const { forest } = await new RootArchive(systemDisk(), root).stateAt(position(events));
  await several('the same by its key', '≤ 300', (at) =>
    of('history', '-q', forest.get(layer(at))?.name ?? ''),
  );
  await several('the same by 12 digits of its chain id', '≤ 300', (at) =>
    of('history', '-q', bareName(forest.get(layer(at))?.name ?? '').slice(0, 12)),
  );
  await several('log --since, -n 1', null, (at) => {
    const { createdAt } = forest.get(layer(at)) ?? {};
    return of('log', '-q', '-n', '1', '--since', formatTime(createdAt ?? unixNanos(0n)));
  });
  await several('a name that nobody ever bore', null, (at) => [
    programFile(root, askingArchive(root, `await archive.find('no such ${at}');`)),
  ]);
  return rows;
}

async function verifying(root: string): Promise<readonly Row[]> {
  const bytes = readdirSync(`${root}/log`)
    .filter((file) => file.endsWith('.seg'))
    .map((file) => `${root}/log/${file}`);
  let size = 0;
  for (const file of bytes) size += (await stat(file)).size;
  const rows: Row[] = [];
  for (const state of ['cached', 'from disk'] as const) {
    for (const [what, program, args] of [
      ['plain read of the segments', 'cat', bytes],
      ['verify by sums', process.execPath, [command, 'verify', '--no-events', '--root', root]],
      [
        'verify of every record',
        process.execPath,
        [command, 'verify', '--no-events', '--every-record', '--root', root],
      ],
    ] as const) {
      if (state === 'from disk') {
        for (const file of bytes) {
          await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0'], { mayFail: true });
        }
      }
      say(`${what}, ${state}`);
      const { wall, processor } = await timed(program, args);
      const rate = size / 1e6 / (wall / 1000);
      rows.push(
        one(`${what}, ${state}, MB/s`, rate, what === 'verify by sums' ? '≥ 300' : null),
        one(`${what}, ${state}, processor ms`, processor),
      );
    }
  }
  say('verify with the events');
  const { wall, processor } = await timed(process.execPath, [command, 'verify', '--root', root]);
  rows.push(one('verify with the events, s', wall / 1000));
  rows.push(one('verify with the events, processor s', processor / 1000));
  return rows;
}

/** Wall and processor time of a process and its threads, in ms. */
function timed(
  program: string,
  args: readonly string[],
): Promise<Pick<Asked, 'wall' | 'processor'>> {
  return new Promise((resolve, reject) => {
    const begun = process.hrtime.bigint();
    const child = spawn(
      'bash',
      ['-c', 'TIMEFORMAT="%U %S"; time "$0" "$@" > /dev/null', program, ...args],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let told = '';
    child.stderr.on('data', (data: Buffer) => (told += data.toString()));
    child.on('error', reject);
    child.on('close', (code) => {
      const wall = Number(process.hrtime.bigint() - begun) * ms;
      const [user = NaN, system = NaN] = (told.trim().split('\n').at(-1) ?? '')
        .split(' ')
        .map(Number);
      if (code === 0) resolve({ wall, processor: (user + system) * 1000 });
      else reject(new Error(`${program} ended with ${code}: ${told}`));
    });
  });
}
