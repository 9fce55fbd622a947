/**
 * Goal: an import into a layer store may be stopped dead between any two of its system calls.
 * What it said it has imported stays, even when the power fails; what it has not is not there at
 * all, or whole; the next import clears away what was left and comes to its end.
 * Method: the real import in this process, on a real directory, with its system calls at a gate
 * (see crash-points.test.ts). For each different state a kill or a power cut, then the next
 * import; it dies too, at a fixed choice of its boundaries (STRATALOG_FAULTS_ALL=1: at each).
 */
import { readdirSync, truncateSync } from 'node:fs';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type * as imageBuild from '../../src/filesystems/layer-store/import/image-build.js';
import type { LayerSource } from '../../src/filesystems/layer-store/import/import-layer.js';
import type { LayerFormat } from '../../src/filesystems/layer-store/layout.js';
import { openStore } from '../../src/filesystems/layer-store/store-directory.js';
import { fullCheck } from '../../src/filesystems/layer-store/verify-layer.js';
import { tarOf } from '../../scripts/rig/tar.js';
import { all } from './crash/choice.js';
import { draws } from './crash/enumerate.js';
import { Gate } from './crash/gate.js';
import { removePlace } from './crash/machine.js';
import { sourcesOf, StoreMachine } from './crash/store-machine.js';

vi.mock('../../src/host/libc.js', async (importOriginal) => {
  const { gatedLibrary } = await import('./crash/system-calls.js');
  return gatedLibrary(await importOriginal());
});

/** The tool that makes an image is another process: it can be half done when ours dies. */
vi.mock('../../src/filesystems/layer-store/import/image-build.js', async (importOriginal) => {
  const original = await importOriginal<typeof imageBuild>();
  const { gateHere } = await import('./crash/system-calls.js');
  const buildImage: typeof original.buildImage = async (...args) => {
    const { gate, tree } = gateHere();
    gate.passNow('before the image tool');
    const image = args[2];
    tree.made(image);
    await original.buildImage(...args);
    tree.written(image);
    if (gate.isLast('within the image tool')) {
      truncateSync(image, 1000);
      gate.die();
    }
    gate.passNow('after the image tool');
  };
  return { ...original, buildImage };
});

afterAll(removePlace);

interface Case {
  readonly format: LayerFormat;
  readonly force: boolean;
}

const cases: readonly Case[] = [
  { format: 'directory', force: false },
  { format: 'directory', force: true },
  { format: 'erofs', force: false },
];

const deaths = [
  { how: 'kill', draw: null },
  { how: 'power cut', draw: () => () => 1 },
  ...(all ? [{ how: 'torn power cut', draw: () => draws(1) }] : []),
];
const stride = all ? 1 : 251;

/** Two layers; the upper one implies a directory of the lower, so that it must look into it. */
function image(): readonly LayerSource[] {
  const lower = tarOf([
    { name: 'etc/', type: 'directory', mode: 0o750 },
    { name: 'etc/hosts', content: 'the hosts' },
  ]);
  const upper = tarOf([{ name: 'etc/new', content: 'new' }]);
  return sourcesOf([lower, upper]);
}

async function setUp({ format, force }: Case, sources: readonly LayerSource[]) {
  const machine = new StoreMachine();
  if (force) {
    await machine.import(new Gate(), sources, { format, force: false });
    machine.tree.allSynced();
  }
  return machine;
}

/** Layers that were acknowledged are good; others are good or absent. */
async function conditionOf(
  machine: StoreMachine,
  sources: readonly LayerSource[],
): Promise<string[]> {
  const lines: string[] = [];
  if (machine.acknowledged.size > 0) openStore(machine.store);
  for (const { chainId, description } of sources) {
    const { state } = await fullCheck(machine.store, chainId);
    const isFine = state === 'good' || (state === 'absent' && !machine.acknowledged.has(chainId));
    if (!isFine) lines.push(`${description} is ${state}`);
  }
  return lines;
}

/** Nothing in the store but the layers, and nothing mounted. */
function tidinessOf(machine: StoreMachine): string[] {
  const lines = machine.mountpoints().map((mountpoint) => `${mountpoint} is left mounted`);
  for (const name of readdirSync(`${machine.store}/staging`)) lines.push(`staging/${name} is left`);
  for (const name of readdirSync(machine.store)) {
    if (!['staging', 'sha256', 'store.json'].includes(name)) lines.push(`${name} is left`);
  }
  return lines;
}

describe.each(cases)('an import as $format, force $force', (each) => {
  const { format, force } = each;

  async function dieAt(sources: readonly LayerSource[], at: number) {
    const machine = await setUp(each, sources);
    const gate = new Gate();
    gate.arm(at);
    const outcome = await machine.import(gate, sources, { format, force });
    return { machine, gate, outcome };
  }

  /** The world goes on; the next import runs to its end, or dies as well. */
  async function goOn(
    machine: StoreMachine,
    sources: readonly LayerSource[],
    draw: (() => () => number) | null,
    secondAt: number,
  ): Promise<{ readonly lines: readonly string[]; readonly boundaries: number }> {
    if (draw !== null) machine.powerCut(draw());
    const lines = await conditionOf(machine, sources);
    const gate = new Gate();
    gate.arm(secondAt);
    if ((await machine.import(gate, sources, { format, force })) === 'died') {
      if (draw !== null) machine.powerCut(draw());
      lines.push(...(await conditionOf(machine, sources)));
      await machine.import(new Gate(), sources, { format, force: false });
    }
    lines.push(...tidinessOf(machine));
    // Whatever it has said must outlive the power.
    machine.powerCut(() => 1);
    lines.push(...(await conditionOf(machine, sources)));
    // Removals that were not synced have come back with the power, and go again.
    await machine.import(new Gate(), sources, { format, force: false });
    lines.push(...tidinessOf(machine));
    const before = machine.listing().join('\n');
    await machine.import(new Gate(), sources, { format, force: false });
    if (machine.listing().join('\n') !== before) lines.push('one more import changes the store');
    return { lines, boundaries: gate.names.length };
  }

  it('may die at every boundary', { timeout: all ? 3_600_000 : 240_000 }, async () => {
    const sources = image();
    const seen = new Set<string>();
    let [boundary, tried, pairs, turn] = [0, 0, 0, 0];
    const attempt = async (at: number, draw: (() => () => number) | null, second: number) => {
      const { machine, gate } = await dieAt(sources, at);
      try {
        const { lines, boundaries } = await goOn(machine, sources, draw, second);
        const where = `${gate.diedAt ?? ''}${second === Infinity ? '' : `, then at ${second}`}`;
        expect(lines, where).toEqual([]);
        return boundaries;
      } finally {
        machine.remove();
      }
    };
    for (; ; boundary += 1) {
      const { machine, outcome } = await dieAt(sources, boundary);
      const state = machine.digest();
      machine.remove();
      if (outcome === 'ended') break;
      if (seen.size === seen.add(state).size) continue;
      for (const { draw } of deaths) {
        tried += 1;
        const nextHas = await attempt(boundary, draw, Infinity);
        for (let second = 0; second < nextHas; second += 1) {
          turn += 1;
          if (turn % stride !== 0) continue;
          pairs += 1;
          await attempt(boundary, draw, second);
        }
      }
    }
    console.info(
      `import as ${format}, force ${String(force)}: ${boundary} boundaries, ${seen.size} different ` +
        `states, ${tried} deaths, ${pairs} pairs (${turn - pairs} left out)`,
    );
    expect(boundary).toBeGreaterThan(60);
    expect(pairs).toBeGreaterThan(15);
  });
});
