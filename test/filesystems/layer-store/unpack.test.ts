/**
 * Goal: a layer in the store is what containerd would have unpacked, whatever its blob looks like.
 * Method: the same blob unpacked by containerd's own applier and by us, in each format, and the
 * trees compared: names, types, modes, owners, times, extended attributes, hard links, devices and
 * content. Blobs are those of unpack/odd-tars and unpack/odd-blobs.ts, and random ones.
 *
 * STRATALOG_FUZZ_FACTOR=100 tries a hundred times as many random archives, STRATALOG_FUZZ_SEED
 * others; a failure prints the seed and the smallest archive that fails.
 */
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { archiveEnd, tarOf } from '../../../scripts/rig/tar.js';
import type { LayerFormat } from '../../../src/filesystems/layer-store/layout.js';
import { runs } from '../../hostile/fuzz/runs.js';
import { oddBlobs } from './unpack/odd-blobs.js';
import { oddChains } from './unpack/odd-tars/chains.js';
import { oddTars } from './unpack/odd-tars/index.js';
import type { OddTar } from './unpack/odd-tars/kit.js';
import {
  type Below,
  type Blob,
  differences,
  type Outcome,
  plainBlob,
  UnpackComparison,
  windowFrom,
} from './unpack/comparison.js';
import { changedTars, randomBelow, randomPieces } from './unpack/random-tars.js';
import { Bench } from './support.js';
import { share } from '../../support/effort.js';

let outer: Bench;
let bench: Bench;
let comparison: UnpackComparison;
let below: Below;

beforeAll(async () => {
  outer = new Bench();
  // In memory nothing has to be synced, and an archive that claims to be huge fills no disk.
  const memory = outer.directory('memory');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'none', memory]);
  bench = new Bench(memory);
  comparison = await UnpackComparison.start(bench);
  below = await comparison.below(tarOf([{ name: 'f', content: 'below' }]), null);
}, 300_000);
afterAll(async () => {
  await comparison.close();
  await bench.close();
  await outer.close();
});

interface Compared {
  readonly theirs: Outcome;
  readonly ours: Outcome;
  /** Empty unless both unpacked it. */
  readonly differences: readonly string[];
}

/** On layers given topmost first. */
async function compare(
  blob: Blob,
  parents: readonly Below[],
  format: LayerFormat = 'directory',
): Promise<Compared> {
  const begin = Date.now();
  const theirs = await comparison.theirs(blob, parents);
  const ours = await comparison.ours(blob, parents[0] ?? null, format);
  const found =
    theirs.kind === 'unpacked' && ours.kind === 'unpacked'
      ? differences(ours.files, theirs.files, format, windowFrom(begin))
      : [];
  return { theirs, ours, differences: found };
}

const shown = (outcome: Outcome): string =>
  outcome.kind === 'unpacked' ? 'unpacks' : `refuses: ${outcome.reason}`;

/** What containerd is known to do, and that we do the same. */
function expectSame(found: Compared, containerd: OddTar['containerd']): void {
  const { theirs, ours } = found;
  expect(shown(theirs)).toMatch(containerd);
  expect(ours.kind, `we: ${shown(ours)}; containerd: ${shown(theirs)}`).toBe(theirs.kind);
  expect(found.differences).toEqual([]);
}

/** A share of them, and all that are unpacked otherwise on purpose. */
const someOddTars = [
  ...share(
    oddTars.filter(({ unsafe }) => unsafe === undefined),
    5,
  ),
  ...oddTars.filter(({ unsafe }) => unsafe !== undefined),
];

describe.each(['lowest', 'upper'] as const)('a tar of a layer that is the %s', (role) => {
  it.each(someOddTars)('$name', async ({ tar, containerd, asUpper = containerd, unsafe }) => {
    const found = await compare(plainBlob(tar), role === 'upper' ? [below] : []);
    if (unsafe === undefined) {
      expectSame(found, role === 'upper' ? asUpper : containerd);
    } else {
      expect(found.theirs.kind).toBe('unpacked');
      expect(shown(found.ours)).toMatch(unsafe);
    }
  });
});

it.each(share(oddChains, 3))(
  'a tar on other layers: $name',
  async ({ below: layers, tar, containerd }) => {
    const chain: Below[] = [];
    for (const entries of layers) {
      chain.unshift(await comparison.below(tarOf(entries), chain[0] ?? null));
    }
    expectSame(await compare(plainBlob(tar), chain), containerd);
  },
);

it.each(share(oddBlobs, 3))('a blob: $name', async ({ blob, containerd }) => {
  expectSame(await compare(blob, []), containerd);
});

describe.each(['erofs', 'squashfs'] as const)('an image of %s', (format) => {
  const stored = oddTars.filter(({ unsafe, ...each }) => {
    return unsafe === undefined && (each.containerd === 'unpacks' || each.asUpper === 'unpacks');
  });

  it.each(share(stored, 6))(
    '$name',
    async ({ tar, containerd, asUpper = containerd, ...refused }) => {
      const found = await compare(plainBlob(tar), asUpper === 'unpacks' ? [below] : [], format);
      const reason = refused[format];
      if (reason === undefined) expectSame(found, 'unpacks');
      else expect(shown(found.ours)).toMatch(reason);
    },
  );
});

describe('a random tar', () => {
  const timeout = 3_600_000;

  /** Compares archives, and expects that not all of them are refused. */
  async function compareAll(tars: fc.Arbitrary<Buffer>, parents: readonly Below[]): Promise<void> {
    let unpacked = 0;
    let all = 0;
    await fc.assert(
      fc.asyncProperty(tars, async (tar) => {
        const found = await compare(plainBlob(tar), parents);
        const { theirs, ours } = found;
        all += 1;
        if (theirs.kind === 'unpacked') unpacked += 1;
        if (ours.kind === 'refused' && / there is no device /.test(ours.reason)) return;
        expect(ours.kind, `we: ${shown(ours)}; containerd: ${shown(theirs)}`).toBe(theirs.kind);
        expect(found.differences).toEqual([]);
      }),
      runs(150),
    );
    expect(unpacked).toBeGreaterThan(all / 5);
  }

  it.each(['lowest', 'upper'] as const)(
    'of entries that meet, as the %s layer',
    { timeout },
    async (role) => {
      const parents = role === 'upper' ? [await comparison.below(randomBelow, null)] : [];
      await compareAll(
        randomPieces.map((pieces) => Buffer.concat([...pieces, archiveEnd])),
        parents,
      );
    },
  );

  it('of changed bytes', { timeout }, () =>
    compareAll(changedTars(oddTars.map(({ tar }) => tar)), []),
  );
});
