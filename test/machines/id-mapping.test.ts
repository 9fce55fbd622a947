/** Maps of user namespaces from labels: one canonical text for equal maps, refusals for wrong ones. */
import { describe, expect, it } from 'vitest';
import { snapshotName } from '../../src/base/units.js';
import {
  checkMappings,
  makesChownedCopy,
  requestedMaps,
  rootOf,
} from '../../src/machines/id-mapping.js';
import { GID_MAPPING_LABEL, UID_MAPPING_LABEL } from '../../src/machines/labels.js';

const IDENTITY = '0:0:4294967295';

function labels(uids?: string, gids?: string): Map<string, string> {
  const given = new Map<string, string>();
  if (uids !== undefined) given.set(UID_MAPPING_LABEL, uids);
  if (gids !== undefined) given.set(GID_MAPPING_LABEL, gids);
  return given;
}

describe('maps in labels', () => {
  it.each([
    ['one range', '0:100000:65536', '0:100000:65536'],
    ['several ranges, sorted', '10:5000:90,0:1000:10', '0:1000:10,10:5000:90'],
    ['ranges that continue each other, joined', '0:1000:10,10:1010:5,15:1015:1', '0:1000:16'],
    ['ranges that continue in the container alone', '0:1000:10,10:2000:5', '0:1000:10,10:2000:5'],
    ['leading zeros', '00:01000:10', '0:1000:10'],
    ['the last id', '0:1:4294967294', '0:1:4294967294'],
  ])('are canonical: %s', (_what, given, canonical) => {
    const maps = checkMappings(labels(given, given));
    expect(maps).toEqual({ ok: true, value: { uids: canonical, gids: canonical } });
  });

  it('map to the same ids where one of the two is missing', () => {
    expect(checkMappings(labels('0:1000:10'))).toEqual({
      ok: true,
      value: { uids: '0:1000:10', gids: IDENTITY },
    });
    expect(checkMappings(labels(undefined, '0:1000:10'))).toEqual({
      ok: true,
      value: { uids: IDENTITY, gids: '0:1000:10' },
    });
  });

  it.each([
    ['no labels', labels()],
    ['empty ones', labels('', '')],
    ['maps to the same ids', labels('0:0:65536', '0:0:1000')],
    ['maps to the same ids in pieces', labels('0:0:10,10:10:5')],
  ])('request nothing: %s', (_what, given) => {
    expect(checkMappings(given)).toEqual({ ok: true, value: null });
  });

  const ranges = (count: number) =>
    Array.from({ length: count }, (_, index) => `${2 * index}:${5 * index}:1`).join();

  it.each([
    ['no ranges', 'x'],
    ['a missing size', '0:1'],
    ['an empty range', '0:1000:0'],
    ['a blank', '0:1000: 10'],
    ['a negative id', '-1:1000:10'],
    ['an id that is no id', '0:1:4294967295'],
    ['ids that are mapped twice', '0:1000:10,5:2000:10'],
    ['two ids on one', '0:1000:10,20:1005:10'],
    ['no root', '1:1000:10'],
    ['more ranges than the kernel takes', ranges(341)],
  ])('are refused: %s', (_what, given) => {
    const refused = checkMappings(labels(given));
    expect(refused).toMatchObject({ ok: false, refusal: { name: 'InvalidMapping' } });
    expect(checkMappings(labels('0:1000:10', given)).ok).toBe(false);
  });

  it('may have as many ranges as the kernel takes', () => {
    expect(checkMappings(labels(ranges(340))).ok).toBe(true);
  });

  it('have no effect under a key that is made for unpacking', () => {
    const key = snapshotName('k8s.io/12/extract-814019370-9yMk sha256:ab');
    expect(requestedMaps(key, labels('nonsense'))).toEqual({ ok: true, value: null });
    expect(requestedMaps(snapshotName('k8s.io/12/web'), labels('nonsense')).ok).toBe(false);
  });

  it('give the container root its ids on the host', () => {
    expect(rootOf({ uids: '0:1000:10,10:5000:90', gids: IDENTITY })).toEqual({ uid: 1000, gid: 0 });
  });
});

describe('the chowned copy of an image', () => {
  it.each([
    ['sha256:ab-remap', 'sha256:ab', true],
    ['k8s.io/7/sha256:ab-remap', 'k8s.io/9/sha256:ab', true],
    ['k8s.io/7/sha256:ab-100000-100000-remap', 'k8s.io/8/sha256:ab-100000-100000', true],
    ['k8s.io/7/sha256:ab', 'k8s.io/9/sha256:ab', false],
    ['k8s.io/7/sha256:ab-remap', 'k8s.io/9/sha256:cd', false],
    ['k8s.io/7/sha256:ab-remap', 'k8s.io/9/sha256:ab-remap', false],
    ['web-remap', 'layer', false],
  ])('is %s, committed as %s: %s', (key, name, expected) => {
    expect(makesChownedCopy(snapshotName(key), snapshotName(name))).toBe(expected);
  });
});
