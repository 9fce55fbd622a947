/**
 * Goal: SIGKILL at any moment costs nothing that was acknowledged, leaves nothing behind that has
 * no owner, and what a restart finds a second restart leaves alone.
 * Method: many clients work on one root at random, the daemon is killed, started again and
 * compared with an oracle that knows every acknowledgement; again and again, on roots side by
 * side. A kill does not cut the power: what the kernel was given it keeps. That a reply also
 * waits for the disk is shown in test/log.
 *
 * STRATALOG_FAULTS_SEED repeats a run, STRATALOG_FAULTS_ROUNDS makes it longer or shorter.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run } from '../../scripts/rig/command.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { Lane } from './lane.js';
import { makeLayerStore } from './layers.js';
import { rounds } from '../support/effort.js';

const kills = Number(process.env['STRATALOG_FAULTS_ROUNDS'] ?? rounds(20, 60));
const seed = Number(process.env['STRATALOG_FAULTS_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
const lanesCount = 2;
const clients = 16;
/** Generous: a slow machine is no failure. */
const roundMillisMax = 20_000;

describe('a daemon that is killed under load', () => {
  it(
    `keeps every acknowledgement through ${kills} kills`,
    { timeout: 60_000 + kills * roundMillisMax },
    async () => {
      console.info(`STRATALOG_FAULTS_SEED=${seed} STRATALOG_FAULTS_ROUNDS=${kills}`);
      const workspace = await Workspace.create('strata-kill-');
      const lanes: Lane[] = [];
      try {
        const layerStore = workspace.path('layers');
        const targets = await makeLayerStore(layerStore, [3, 2, 1]);
        for (let index = 0; index < lanesCount; index += 1) {
          const options = { workspace, layerStore, targets, clients, restartEvery: 8 };
          lanes.push(new Lane({ ...options, name: `lane-${index}`, seed: seed + index }));
        }
        const share = Math.ceil(kills / lanesCount);
        const outcomes = await Promise.allSettled(lanes.map((lane) => lane.run(share)));
        const failures: unknown[] = [];
        for (const [index, outcome] of outcomes.entries()) {
          const lane = lanes[index];
          if (outcome.status === 'rejected') {
            failures.push(outcome.reason);
            if (lane !== undefined) await keep(lane);
          }
        }
        const counts = new Map<string, number>();
        for (const lane of lanes) {
          for (const [what, times] of lane.counts) {
            counts.set(what, (counts.get(what) ?? 0) + times);
          }
        }
        console.info([...counts].map(([what, times]) => `${what} ${times}`).join(', '));
        if (failures.length > 0)
          throw new AggregateError(failures, failures.map(String).join('\n'));
        expectExercised(counts);
      } finally {
        await workspace.close();
      }
    },
  );
});

/** A run in which nothing was under way at the kills would prove nothing. */
function expectExercised(counts: ReadonlyMap<string, number>): void {
  for (const what of ['active', 'view', 'commit', 'remove', 'update', 'remote']) {
    expect(counts.get(what) ?? 0, what).toBeGreaterThan(kills / 2);
  }
  expect(counts.get('without an answer') ?? 0).toBeGreaterThan(kills);
}

/** Copies the root of a failed lane aside; the copy has no mounts and outlives the test. */
async function keep(lane: Lane): Promise<void> {
  await lane.stop();
  const kept = await mkdtemp(join(tmpdir(), 'stratalog-killed-'));
  await run('cp', ['-ax', lane.root, kept], { mayFail: true });
  console.error(`the root of the failed round is kept in ${kept}`);
}
