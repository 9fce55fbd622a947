/**
 * Goal: what is too long, too deep or at the same moment is answered well. Method: chains deeper
 * than containerd tries them, mounted for real; a parent that is removed while it gets a child, at
 * each distance of the two calls; headers of 64 KiB, and the log read afterwards.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapshotsService } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import type { Result } from '../../src/base/result.js';
import { snapshotName } from '../../src/base/units.js';
import type { Refusal } from '../../src/machines/refusals.js';
import type { MountSpec } from '../../src/snapshotter/mounts.js';
import { TestDaemon, testRoot, told, until, valueOf, type TestRoot } from '../support/daemon.js';
import { ApiWorld, field, framed } from './api-world.js';

/** For a busy machine. */
const slow = { timeout: 120_000 };

describe('a daemon', () => {
  let root: TestRoot;
  let daemon: TestDaemon;
  beforeEach(async () => {
    root = testRoot();
    daemon = await TestDaemon.open(root);
  });
  afterEach(async () => {
    await daemon.close();
    root.remove();
  });

  /** As containerd mounts what is longer than a page: from the directory of all lowers. */
  function mountCompacted(mounts: readonly MountSpec[], target: string): void {
    const options = mounts[0]?.options.join().replaceAll(`${root.snapshots}/`, '') ?? '';
    const command = ['-t', 'overlay', 'overlay', '-o', options, target];
    execFileSync('mount', command, { cwd: root.snapshots });
  }

  it('has no depth of its own: 128 layers work, and so does the 129th', slow, async () => {
    const target = `${root.layers}/mounted`;
    fs.mkdirSync(target);
    for (let depth = 1; depth <= 129; depth += 1) {
      await daemon.layer(`layer-${depth}`, depth === 1 ? null : `layer-${depth - 1}`);
    }
    for (const depth of [128, 129]) {
      const mounts = valueOf(await daemon.prepare(`on ${depth}`, `layer-${depth}`));
      expect(mounts[0]?.options.join().match(/\/fs:/g)).toHaveLength(depth - 1);
      mountCompacted(mounts, target);
      try {
        expect(fs.readdirSync(target)).toHaveLength(depth);
        expect(fs.readFileSync(`${target}/layer-1`, 'utf8')).toBe('layer-1');
        fs.writeFileSync(`${target}/layer-1`, 'changed');
      } finally {
        execFileSync('umount', [target]);
      }
    }
    expect(fs.readFileSync(`${daemon.fs(1)}/layer-1`, 'utf8')).toBe('layer-1');
  });

  /** Ways to become a child of `parent`. */
  const ways: Record<string, (parent: string) => Promise<Result<unknown, Refusal>>> = {
    prepare: (parent) => daemon.prepare(`child of ${parent}`, parent),
    view: (parent) => daemon.view(`child of ${parent}`, parent),
    commit: (parent) => {
      const names = { key: snapshotName(`key for ${parent}`), name: snapshotName(`on ${parent}`) };
      const rest = { parent: snapshotName(parent), labels: new Map<string, string>(), caller: {} };
      return daemon.snapshotter.commit({ ...names, ...rest }, new AbortController().signal);
    },
  };

  /** The name and the parent of each. */
  const picture = (): string[] =>
    [...valueOf(daemon.snapshotter.list([]))].map((one) => `${one.name} < ${one.parent}`).sort();

  it.each(Object.entries(ways))(
    'gives a parent that is removed in the moment of a %s its child, or the child no parent',
    async (way, becomeChild) => {
      const seen = new Set<string>();
      for (let round = 0; round < 24; round += 1) {
        const parent = `parent-${round}`;
        await daemon.layer(parent);
        if (way === 'commit') valueOf(await daemon.prepare(`key for ${parent}`));
        const calls = [() => becomeChild(parent), () => daemon.remove(parent)];
        if (round % 2 === 1) calls.reverse();
        const [first, second] = calls;
        const running = first?.();
        for (let turn = 0; turn < Math.floor(round / 2); turn += 1) await breathe();
        const ends = [await second?.(), await running];
        if (round % 2 === 1) ends.reverse();
        // As if nobody had asked the other.
        seen.add(ends.map((end) => (end === undefined ? '' : told(end))).join(', '));
      }
      expect([...seen].sort()).toEqual([
        expect.stringMatching(/^FailedPrecondition \w+, ok$/),
        expect.stringMatching(/^ok, NotFound \w+$/),
      ]);
      await expectParents();
      const before = picture();
      await daemon.crash();
      daemon = await TestDaemon.open(root);
      expect(picture()).toEqual(before);
      expect(daemon.warnings).toEqual([]);
    },
  );

  async function expectParents(): Promise<void> {
    const infos = [...valueOf(daemon.snapshotter.list([]))];
    const names = new Set<string>(infos.map(({ name }) => name));
    const orphans = infos.filter(({ parent }) => parent !== '' && !names.has(parent));
    expect(orphans).toEqual([]);
    // Those of the removed go behind the answer; those of parents stay.
    await until('directories are gone', () => daemon.directories().length <= infos.length);
    expect(daemon.directories()).toHaveLength(infos.length);
  }
});

it('keeps the beginning of headers that are longer than any real one', async () => {
  const world = await ApiWorld.open();
  try {
    await world.furnish();
    const names = ['containerd-namespace', 'containerd-lease', 'traceparent'];
    for (const [index, name] of names.entries()) {
      const answer = await world.raw({
        path: SnapshotsService.prepare.path,
        headers: { [name]: 'x'.repeat(64 * 1024) },
        body: [framed(Buffer.concat([field(2, `long-${index}`), field(3, 'child')]))],
      });
      expect(answer.code, answer.message).toBe('OK');
    }
    const prepared = (await world.daemon.eventsOfType('SnapshotPreparing')).slice(-3);
    const kept = prepared.map(({ data }) => (data as { caller: object }).caller);
    const cut = 'x'.repeat(256);
    expect(kept).toMatchObject([{ namespace: cut }, { lease: cut }, { traceparent: cut }]);
    const real = 'n'.repeat(76);
    await world.raw({
      path: SnapshotsService.remove.path,
      headers: { 'containerd-namespace': real },
      body: [framed(field(2, 'long-0'))],
    });
    const [removing] = (await world.daemon.eventsOfType('SnapshotRemoving')).slice(-1);
    expect(removing?.data).toMatchObject({ caller: { namespace: real } });
  } finally {
    await world.close();
  }
});
