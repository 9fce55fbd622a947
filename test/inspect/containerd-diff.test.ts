/**
 * Goal: what is to be removed makes both agree, in an order that containerd allows. Method: any
 * two stores, and containerd's own rules for removals and collections, played by a model.
 */
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  ctrLines,
  diffContainerd,
  shellWord,
  type OurSnapshot,
} from '../../src/inspect/containerd/containerd-diff.js';
import type { ContainerdSnapshot } from '../../src/inspect/containerd/containerd-metadata.js';

const namespaces = ['default', 'k8s.io'];

/** Forests of few keys, so that both have many in common. */
const someTheirs = fc
  .uniqueArray(
    fc.record({
      namespace: fc.constantFrom(...namespaces),
      number: fc.integer({ min: 0, max: 7 }),
      parent: fc.option(fc.integer({ min: 0, max: 7 })),
    }),
    { selector: ({ namespace, number }) => `${namespace} ${number}` },
  )
  .map((drawn) =>
    drawn.map(({ namespace, number, parent }): ContainerdSnapshot => {
      const isThere = drawn.some((one) => one.namespace === namespace && one.number === parent);
      const stands = parent !== null && parent < number && isThere;
      return {
        namespace,
        key: `key ${number}`,
        name: nameOf(namespace, number),
        parent: stands ? `key ${parent}` : null,
      };
    }),
  );

const someOurs = fc
  .uniqueArray(
    fc.record({
      namespace: fc.constantFrom(...namespaces),
      number: fc.integer({ min: 0, max: 7 }),
      parent: fc.option(fc.integer({ min: 0, max: 7 })),
      kind: fc.constantFrom('active' as const, 'view' as const, 'committed' as const),
    }),
    { selector: ({ namespace, number }) => `${namespace} ${number}` },
  )
  .map((drawn) =>
    drawn.map(({ namespace, number, parent, kind }): OurSnapshot => {
      const isThere = drawn.some((one) => one.namespace === namespace && one.number === parent);
      const stands = parent !== null && parent < number && isThere;
      return {
        name: nameOf(namespace, number),
        parent: stands ? nameOf(namespace, parent) : null,
        kind,
      };
    }),
  );

function nameOf(namespace: string, number: number): string {
  return `${namespace}/${number}/key ${number}`;
}

it('leaves nothing that differs, and never removes a snapshot before its children', () => {
  fc.assert(
    fc.property(someOurs, someTheirs, (ours, theirs) => {
      const diff = diffContainerd(ours, theirs);
      let left = [...theirs];
      for (const removed of diff.removals) {
        const { namespace, key } = removed;
        expect(left.some((one) => one.namespace === namespace && one.parent === key)).toBe(false);
        expect(left).toContain(removed);
        left = left.filter((one) => one !== removed);
      }
      const isRemembered = new Set(left.map(({ name }) => name));
      const collected = diff.isCollectionNeeded
        ? ours.filter(({ name }) => isRemembered.has(name))
        : ours;
      expect(diffContainerd(collected, left)).toEqual({
        differences: [],
        removals: [],
        isCollectionNeeded: false,
      });
    }),
  );
});

it('finds nothing between a store and itself, and removes nothing that agrees', () => {
  fc.assert(
    fc.property(someTheirs, (theirs) => {
      const names = new Map(theirs.map((one) => [`${one.namespace} ${one.key}`, one.name]));
      const ours = theirs.map(({ namespace, name, parent }): OurSnapshot => {
        return { name, parent: names.get(`${namespace} ${parent}`) ?? null, kind: 'committed' };
      });
      expect(diffContainerd(ours, theirs).differences).toEqual([]);
      expect(ctrLines(diffContainerd(ours, theirs), { snapshotter: 's', address: null })).toEqual(
        [],
      );
    }),
  );
});

it('says each line in full', () => {
  const lost: ContainerdSnapshot = {
    ...{ namespace: 'k8s.io', key: "extract-1 it's", name: 'k8s.io/1/x', parent: null },
  };
  const settings = { snapshotter: 'stratalog', address: '/run/containerd/containerd.sock' };
  expect(ctrLines(diffContainerd([], [lost]), settings)).toEqual([
    'ctr --address /run/containerd/containerd.sock -n k8s.io snapshots --snapshotter stratalog rm ' +
      `'extract-1 it'\\''s'`,
  ]);
  const orphan: OurSnapshot = { name: 'k8s.io/2/y', parent: null, kind: 'active' };
  expect(ctrLines(diffContainerd([orphan], []), { ...settings, address: null })).toEqual([
    'ctr -n default snapshots --snapshotter stratalog prepare stratalog-collect',
    'ctr -n default snapshots --snapshotter stratalog rm stratalog-collect',
    'ctr -n default content prune references',
  ]);
});

it('hands any text to a shell as one word', () => {
  const texts = fc.array(
    fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => !text.includes('\0')),
    {
      minLength: 1,
      maxLength: 40,
    },
  );
  fc.assert(
    fc.property(texts, (given) => {
      const script = `LC_ALL=C.UTF-8; printf '%s\\0' ${given.map(shellWord).join(' ')}`;
      const printed = execFileSync('bash', ['--norc', '-c', script]).toString();
      expect(printed.split('\0').slice(0, -1)).toEqual(given);
    }),
    { numRuns: 30 },
  );
});
