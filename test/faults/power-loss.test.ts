/**
 * Goal: after a power cut at any moment nothing that was acknowledged is lost, no committed layer
 * lacks a byte (durability "data", the default), the log has no damage, and a start settles all.
 * Method: real ext4, XFS and btrfs on a disk that records every write and every flush in order
 * (block/). The daemon works there, as a process, under load. Then the power is cut at many
 * points of the recording: what a flush had covered is there, of the writes since then all, none,
 * some, or torn ones. Each image is mounted, so that the file system replays its own journal, and
 * looked at by power-loss-check.ts.
 *
 * STRATALOG_FAULTS_SEED repeats the draws; STRATALOG_FAULTS_ROUNDS is how many cuts each file
 * system gets. The interleaving of clients and disk is the machine's.
 */
import { describe, expect, it } from 'vitest';
import { run } from '../../scripts/rig/command.js';
import { Daemon, stratalog } from '../../scripts/rig/daemon.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { BlockDevice } from './block/block-device.js';
import type { Cut, Remains } from './block/recording.js';
import { checkAfterCut } from './power-loss-check.js';
import { PowerLossClient } from './power-loss-load.js';
import { History } from './power-loss-oracle.js';
import { Random } from '../support/random.js';
import { rounds } from '../support/effort.js';

const cuts = Number(process.env['STRATALOG_FAULTS_ROUNDS'] ?? rounds(8, 20));
const seed = Number(process.env['STRATALOG_FAULTS_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
const clientsCount = 6;
const callsEach = 45;
/** One image in so many is started a second time. */
const restartEvery = 3;
const mebibyte = 1024 * 1024;

interface Kind {
  readonly name: string;
  readonly bytes: number;
  readonly mkfs: readonly [string, ...string[]];
  /**
   * What the disk tears. ext4 writes whole blocks from its journal again, and lives with sectors of
   * 512 bytes. btrfs overwrites one block in place, its superblock of 4 KiB, and needs that to be
   * written whole. So does XFS with each of its blocks: of one whose first sector is newer than the
   * journal its recovery replays nothing, and refuses the mount when the sum of the rest is wrong
   * (fs/xfs/xfs_buf_item_recover.c, xlog_recover_buf_commit_pass2).
   */
  readonly tornBytes: number;
}

const kinds: readonly Kind[] = [
  {
    name: 'ext4',
    bytes: 192 * mebibyte,
    // A small journal, so that it comes round during the load.
    mkfs: ['mkfs.ext4', '-q', '-F', '-J', 'size=4'],
    tornBytes: 512,
  },
  { name: 'xfs', bytes: 320 * mebibyte, mkfs: ['mkfs.xfs', '-q', '-f'], tornBytes: 4096 },
  { name: 'btrfs', bytes: 256 * mebibyte, mkfs: ['mkfs.btrfs', '-q', '-f'], tornBytes: 4096 },
];

/** Many events in small files, so that cuts meet new segments and checkpoints too. */
const config = `
[log_store]
segment_size = "1MiB"
checkpoint_every_events = 100
`;

describe.each(kinds)('a daemon on $name that loses power', (kind) => {
  it(`keeps every promise at ${cuts} cuts`, { timeout: 120_000 + cuts * 10_000 }, async () => {
    console.info(`${kind.name}: STRATALOG_FAULTS_SEED=${seed} STRATALOG_FAULTS_ROUNDS=${cuts}`);
    const random = new Random(seed);
    const workspace = await Workspace.create('strata-power-');
    try {
      const { device, history, counts } = await recordLife(workspace, kind, random);
      const count = (what: string) => void counts.set(what, (counts.get(what) ?? 0) + 1);
      const chosen = chooseCuts(device, random, kind.tornBytes);
      for (const [index, cut] of chosen.entries()) {
        device.cut(cut);
        const where = `${kind.name}, seed ${seed}, cut ${index} at ${JSON.stringify(cut)} of ${device.position}`;
        await device.mount().catch((thrown: unknown) => expect.fail(`${where}: ${String(thrown)}`));
        const found = await checkAfterCut({
          root: device.mountpoint,
          history,
          position: cut.at,
          restarts: index % restartEvery === 0,
          count,
        });
        if (index === chosen.length - 1) found.push(...(await inspectAsAnOperator(device)));
        await device.unmount();
        count(`${cut.remains.kind} of the unflushed`);
        expect(found, where).toEqual([]);
      }
      console.info([...counts].map(([what, times]) => `${what} ${times}`).join(', '));
      for (const what of ['active', 'commit', 'remove', 'update', 'checkpoints', 'segments']) {
        expect(counts.get(what) ?? 0, what).toBeGreaterThan(0);
      }
    } finally {
      await workspace.close();
    }
  });
});

/** A daemon's life on the disk, from an empty file system to SIGKILL under load. */
async function recordLife(workspace: Workspace, { name, bytes, mkfs }: Kind, random: Random) {
  const device = await BlockDevice.start(workspace, { name, bytes, mountArguments: ['-t', name] });
  const [program, ...words] = mkfs;
  await run(program, [...words, device.file]);
  device.record();
  await device.mount();
  const daemon = Daemon.stratalog(workspace, { config }, name);
  expect(daemon.root).toBe(device.mountpoint);
  await daemon.start();
  const history = new History();
  const options = {
    address: daemon.address,
    history,
    position: () => device.position,
    mountpoint: workspace.path('overlays'),
    neighbour: `${device.mountpoint}/neighbour`,
  };
  const clients = Array.from(
    { length: clientsCount },
    (_, number) => new PowerLossClient(options, number, random.split()),
  );
  await Promise.all(clients.map((client) => client.work(callsEach)));
  const counts = new Map<string, number>();
  for (const client of clients) {
    for (const [what, times] of client.counts) counts.set(what, (counts.get(what) ?? 0) + times);
  }
  const { stdout } = await run('ls', [`${daemon.root}/log`]);
  counts.set('segments', stdout.split('.seg').length - 2);
  counts.set('checkpoints', stdout.split('.checkpoint').length - 1);
  await daemon.crash();
  await device.unmount();
  counts.set('requests', device.position);
  return { device, history, counts };
}

/**
 * Around flushes, because there the promises change hands; and anywhere. In rising order.
 */
function chooseCuts(device: BlockDevice, random: Random, tornBytes: number): Cut[] {
  const flushes = device.flushes();
  const end = device.position;
  const chosen = Array.from({ length: cuts }, (_, index): Cut => {
    const remains = drawRemains(index, random, tornBytes);
    const flush = random.pickIfAny(flushes) ?? end;
    // The write before a flush is often one of the log's: the one to tear.
    const before = remains.kind === 'units' ? [flush - 1] : [flush, flush - 1];
    const places = [...before, ...before, flush + random.below(8), random.below(end)];
    return { at: Math.min(Math.max(random.pickIfAny(places) ?? end, 0), end), remains };
  });
  return chosen.sort((one, other) => one.at - other.at);
}

function drawRemains(index: number, random: Random, unitBytes: number): Remains {
  const draw = { seed: random.below(2 ** 32), probability: 0.1 + 0.8 * random.next() };
  const ways: readonly Remains[] = [
    { kind: 'none' },
    { kind: 'writes', ...draw },
    { kind: 'units', ...draw, unitBytes },
    { kind: 'all' },
  ];
  return ways[index % ways.length] ?? { kind: 'none' };
}

/** The commands that an administrator would run on what the last start left. */
async function inspectAsAnOperator({ mountpoint }: BlockDevice): Promise<string[]> {
  const found: string[] = [];
  for (const command of ['verify', 'inspect']) {
    const { exitCode, stdout, stderr } = await stratalog(command, '--root', mountpoint);
    if (exitCode !== 0) found.push(`${command} ended with ${exitCode}: ${stdout}${stderr}`);
  }
  return found;
}
