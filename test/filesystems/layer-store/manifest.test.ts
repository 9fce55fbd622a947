/**
 * Goal: no manifest, however it was written, leads out of its store or fails other than with a
 * reason. Method: properties over arbitrary JSON, arbitrary text, and damaged true manifests.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Digest } from '../../../src/filesystems/layer-store/digest.js';
import { chainIdsOf, isDigest } from '../../../src/filesystems/layer-store/digest.js';
import { LayerUnusable } from '../../../src/filesystems/layer-store/layer-store.js';
import { contentPath } from '../../../src/filesystems/layer-store/layout.js';
import type { LayerManifest } from '../../../src/filesystems/layer-store/manifest.js';
import {
  formatManifest,
  ManifestInvalid,
  parseManifest,
} from '../../../src/filesystems/layer-store/manifest.js';
import { quickCheck } from '../../../src/filesystems/layer-store/verify-layer.js';
import { HostFault } from '../../../src/base/errors.js';
import { Bench, labelsOf, noSignal } from './support.js';

const hex = (digit: string): Digest => `sha256:${digit.repeat(64)}` as Digest;
const chainId = hex('c');

const common = {
  schema: 'stratalog.layer/v1',
  chainId,
  parentChainId: null,
  diffId: hex('d'),
  blob: { digest: hex('b'), size: 5, mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' },
  usage: { size: 4096, inodes: 1 },
  created: '2026-01-02T03:04:05.678Z',
  tools: { stratalog: '0.1.0' },
} as const;
const good: readonly LayerManifest[] = [
  { ...common, format: 'directory', identity: { kind: 'attribute', value: `${chainId}/token` } },
  {
    ...common,
    format: 'directory',
    identity: { kind: 'inode', inode: '18446744073709551615', birthTimeNanos: '1' },
  },
  { ...common, format: 'erofs', image: { size: 4096, sha256: hex('e') } },
  { ...common, format: 'squashfs', parentChainId: hex('a'), image: { size: 1, sha256: hex('f') } },
];

const parse = (text: string): LayerManifest => parseManifest(text, chainId, 'manifest.json');

/** Answers the manifest, or undefined for a refusal with a reason; anything else fails the test. */
function parsedOrRefused(text: string): LayerManifest | undefined {
  try {
    return parse(text);
  } catch (thrown) {
    if (!(thrown instanceof ManifestInvalid)) throw thrown;
    expect(thrown.message).toMatch(/^manifest\.json /);
    return undefined;
  }
}

describe('a manifest', () => {
  it.each(good)('reads as it was written: $format', (manifest) => {
    expect(parse(formatManifest(manifest))).toEqual(manifest);
  });

  it('is refused when it is another layer’s, or carries another layer’s token', () => {
    const [directory] = good;
    expect(() =>
      parse(formatManifest({ ...common, ...directory, chainId: hex('1') } as LayerManifest)),
    ).toThrow(/is the manifest of sha256:1/);
    const foreign = { kind: 'attribute', value: `${hex('1')}/token` };
    expect(() => parse(JSON.stringify({ ...directory, identity: foreign }))).toThrow(/identity/);
  });

  it('is refused with a reason whatever text or JSON stands there', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), fc.constant('{"__proto__":{}}')), (text) => {
        expect(parsedOrRefused(text)).toBeUndefined();
      }),
    );
  });

  it('never names a path of its own, whatever one field of it says', () => {
    const field = fc.constantFrom(...Object.keys(common), 'format', 'image', 'identity', 'extra');
    const path_ = fc.constantFrom('../../etc', '/etc/passwd', 'fs/../..', 'erofs\0', 'layer.erofs');
    const value = fc.oneof(fc.jsonValue(), path_);
    fc.assert(
      fc.property(fc.constantFrom(...good), field, value, (manifest, key, said) => {
        const found = parsedOrRefused(JSON.stringify({ ...manifest, [key]: said }));
        if (found === undefined) return;
        expect(contentPath('/store', found.chainId, found.format)).toMatch(
          /^\/store\/sha256\/c{64}\/(fs|layer\.erofs|layer\.squashfs)$/,
        );
      }),
      { numRuns: 500 },
    );
  });
});

describe('a store with a bad manifest', () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.close());

  it('refuses the mount with a reason, mounts nothing, and lists the layer as damaged', async () => {
    const layer = await bench.importEntries([{ name: 'a', content: 'x' }]);
    const file = path.join(bench.store, 'sha256', layer.slice(7), 'manifest.json');
    const text = fs.readFileSync(file, 'utf8');
    const mountpoint = bench.directory('mountpoint');
    const store = bench.open();
    const damage = fc.record({
      at: fc.nat({ max: text.length - 1 }),
      cut: fc.nat({ max: 40 }),
      put: fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom('../', '/', '\0', '"', '}')),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, cut, put }) => {
        const damaged = text.slice(0, at) + put + text.slice(at + cut);
        fc.pre(damaged !== text);
        fs.writeFileSync(file, damaged);
        try {
          await store.mount(mountpoint, labelsOf(layer), noSignal());
          // The damage was to something that no mount depends on, such as a time.
          await store.unmount(mountpoint, noSignal());
        } catch (thrown) {
          const named = [ManifestInvalid, LayerUnusable, HostFault].some(
            (each) => thrown instanceof each || (thrown as Error).name === each.name,
          );
          if (!named) throw thrown;
          expect(['damaged', 'good']).toContain(quickCheck(bench.store, layer).state);
        }
        expect(bench.mountpoints()).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ['larger than any manifest', (file: string) => fs.writeFileSync(file, ' '.repeat(70_000))],
    ['a directory', (file: string) => fs.mkdirSync(file)],
  ])('refuses one that is %s', async (_name, put) => {
    const layer = await bench.importEntries([{ name: 'a', content: 'x' }]);
    const file = path.join(bench.store, 'sha256', layer.slice(7), 'manifest.json');
    fs.rmSync(file);
    put(file);
    const mount = bench.open().mount(bench.directory('mountpoint'), labelsOf(layer), noSignal());
    await expect(mount).rejects.toThrow(/is not a file of at most/);
    expect(quickCheck(bench.store, layer).state).toBe('damaged');
  });
});

it('computes chain ids as the specification does', () => {
  const [first, second] = [hex('1'), hex('2')];
  const chain = chainIdsOf([first, second]);
  expect(chain[0]).toBe(first);
  // By printf '%s' 'sha256:1…1 sha256:2…2' | sha256sum.
  expect(chain[1]).toBe('sha256:9932074217c35353d2e03a3f5a86549f7c67bfeb0ba53e23d69f4d4c8f7958f5');
  expect(chain.every(isDigest)).toBe(true);
  expect(isDigest('sha256:../')).toBe(false);
  expect(isDigest(`sha512:${'a'.repeat(64)}`)).toBe(false);
});
