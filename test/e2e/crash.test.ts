/** Stratalog and containerd are killed and started again; containers and later pulls must not care. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { directoriesInUse } from '../../scripts/rig/directories.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage, stackCheck } from '../../scripts/rig/sample-image.js';
import { until } from '../../scripts/rig/wait.js';
import { connectedAgain, startLimitMillis, startRig } from './support.js';

const sample = { extraLayers: 8, bytesPerLayer: 400_000 };
/** Writes and reads its own file system for ever, and says how far it got. */
const counting = `i=0; while :; do
  i=$((i+1)); echo $i > /app/count; sync; test "$(cat /app/count)" = $i || { echo broken; exit 1; }
  cat /settings/new.conf > /dev/null || { echo broken; exit 1; }
  echo $i; sleep 0.05
done`;

let rig: Rig;

beforeEach(async () => {
  rig = await startRig();
}, startLimitMillis);

afterEach(() => rig.close());

describe('a snapshotter that is killed', () => {
  it('in the middle of a pull: the next pull ends well', { timeout: 120_000 }, async () => {
    const reference = await rig.publish(await sampleImage(sample), 'sample');
    const directories = () => directoriesInUse(rig.daemon.root);
    const pulled = rig.ctr.pull(reference).then(
      () => 'ended well',
      () => 'failed',
    );
    await until('some layers are there', async () => (await directories()).length >= 3, {
      pauseMillis: 1,
    });
    await rig.daemon.crash();
    await rig.daemon.start();
    // Either is right: containerd may have been between two calls.
    expect(['ended well', 'failed']).toContain(await pulled);

    await connectedAgain(() => rig.ctr.pull(reference));
    expect(await rig.ctr.runOnce(reference, 'after', stackCheck(sample))).toBe('stacked rightly\n');
    await rig.ctr.removeImage(reference);
    expect(await rig.ctr.snapshots()).toEqual([]);
    await until('no directory is left', async () => (await directories()).length === 0);
  });

  it('while a container runs: the container never notices', { timeout: 120_000 }, async () => {
    const { reference, lines } = await runningContainer();
    const task = await rig.ctr.task('counter');
    expect(task?.status).toBe('RUNNING');
    const atCrash = lines().length;
    await rig.daemon.crash();
    await until('it counts on without a snapshotter', () => lines().length > atCrash + 5);
    await rig.daemon.start();
    const afterStart = lines().length;
    await until('it counts on with the new one', () => lines().length > afterStart + 5);

    expect(lines()).not.toContain('broken');
    expect(lines().slice(0, 3)).toEqual(['1', '2', '3']);
    expect(await rig.ctr.task('counter')).toEqual(task);
    // The new daemon knows the container's snapshot and can measure and remove it.
    const rows = await connectedAgain(() => rig.ctr.snapshots());
    expect(rows.find((row) => row.key === 'counter')?.kind).toBe('Active');
    expect(await rig.ctr.runOnce(reference, 'fresh', stackCheck(sample))).toBe('stacked rightly\n');
    await rig.ctr.removeContainer('counter');
    expect((await rig.ctr.snapshots()).some((row) => row.key === 'counter')).toBe(false);
  });

  it(
    'five times in a row beside pulls: nothing acknowledged is lost',
    { timeout: 240_000 },
    async () => {
      const rounds = 5;
      const directories = () => directoriesInUse(rig.daemon.root);
      for (let round = 0; round < rounds; round += 1) {
        const options = { extraLayers: 4, bytesPerLayer: 50_000, seed: `round ${round}` };
        const reference = await rig.publish(await sampleImage(options), `round-${round}`);
        const before = (await directories()).length;
        const pulled = rig.ctr.pull(reference).catch(() => undefined);
        await until('the pull has begun', async () => (await directories()).length > before, {
          pauseMillis: 1,
        });
        await rig.daemon.crash();
        await rig.daemon.start();
        await pulled;
        await connectedAgain(() => rig.ctr.pull(reference));
      }
      for (let round = 0; round < rounds; round += 1) {
        const options = { extraLayers: 4, bytesPerLayer: 50_000, seed: `round ${round}` };
        const reference = rig.registry.reference(`round-${round}`, 'v1');
        expect(await rig.ctr.runOnce(reference, `check-${round}`, stackCheck(options))).toBe(
          'stacked rightly\n',
        );
      }
    },
  );
});

describe('a snapshotter that is stopped in order', () => {
  const signals = ['SIGTERM', 'SIGINT'] as const;
  it.each(signals)(
    'ends at %s and leaves containers alone',
    { timeout: 120_000 },
    async (signal) => {
      const { lines, reference } = await runningContainer();
      expect(await rig.daemon.stop(signal)).toEqual({ exitCode: 0, signal: null });
      const stopped = lines().length;
      await until('it counts on', () => lines().length > stopped + 5);
      await rig.daemon.start();
      await connectedAgain(() => rig.ctr.snapshots());
      expect(await rig.ctr.exec('counter', 'echo here')).toBe('here\n');
      expect(lines()).not.toContain('broken');
      expect(await rig.ctr.runOnce(reference, 'fresh', stackCheck(sample))).toBe(
        'stacked rightly\n',
      );
    },
  );
});

describe('a containerd that is killed', () => {
  it('finds its snapshots and containers again', { timeout: 120_000 }, async () => {
    const { reference, lines } = await runningContainer();
    const before = await rig.ctr.snapshots();
    await rig.containerd.crash();
    await rig.containerd.startAgain();
    expect(await rig.ctr.snapshots()).toEqual(before);
    const restarted = lines().length;
    await until('the container counts on', () => lines().length > restarted + 5);
    expect(await rig.ctr.exec('counter', 'echo here')).toBe('here\n');
    await rig.ctr.removeContainer('counter');
    await rig.ctr.removeImage(reference);
    expect(await rig.ctr.snapshots()).toEqual([]);
  });

  it('together with the snapshotter: both agree afterwards', { timeout: 120_000 }, async () => {
    const { reference } = await runningContainer();
    const before = await rig.ctr.snapshots();
    await Promise.all([rig.containerd.crash(), rig.daemon.crash()]);
    await rig.daemon.start();
    await rig.containerd.startAgain();
    expect(await rig.ctr.snapshots()).toEqual(before);
    expect(await rig.ctr.runOnce(reference, 'fresh', stackCheck(sample))).toBe('stacked rightly\n');
  });
});

async function runningContainer(): Promise<{ reference: string; lines: () => string[] }> {
  const reference = await rig.publish(await sampleImage(sample), 'sample');
  await rig.ctr.pull(reference);
  const output = rig.workspace.path('counter.out');
  await rig.ctr.start(reference, 'counter', counting, output);
  const lines = () => readFileSync(output, 'utf8').trim().split('\n');
  await until('the container counts', () => lines().length > 5);
  return { reference, lines };
}
