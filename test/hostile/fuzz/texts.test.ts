/**
 * Goal: text and bytes from elsewhere are read, or refused by the one error their reader has.
 * Method: random input, and pieces of good input in any order, against each reader.
 */
import fc from 'fast-check';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/daemon/config/config.js';
import { defaultConfigText } from '../../../src/daemon/config/config-text.js';
import {
  PrepareSnapshotRequest,
  UpdateSnapshotRequest,
} from '../../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import {
  requestShapes,
  strictSnapshotsService as service,
} from '../../../src/api/snapshots/snapshots-requests.js';
import { unreadable } from '../../../src/api/grpc/strict-requests.js';
import { UsageError } from '../../../src/base/errors.js';
import { ManifestInvalid, parseManifest } from '../../../src/filesystems/layer-store/manifest.js';
import { fromHex } from '../../../src/filesystems/layer-store/digest.js';
import { parseMountinfo, unescapeOctal } from '../../../src/host/mounts/mountinfo.js';
import { checkMappings } from '../../../src/machines/id-mapping.js';
import { UID_MAPPING_LABEL } from '../../../src/machines/labels.js';
import { decodeHead, decodeState } from '../../../src/machines/snapshots/state-json.js';
import { ZodError } from 'zod';
import { runs } from './runs.js';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const anyText = fc.string({ unit: 'binary', maxLength: 200 });

describe('a request', () => {
  const wireText = fc.string({ unit: 'binary', maxLength: 40 });
  const request = fc.record({
    snapshotter: wireText,
    key: wireText,
    parent: wireText,
    labels: fc.array(fc.tuple(wireText, wireText), { maxLength: 4 }).map((all) => new Map(all)),
  });

  it('decodes to what was encoded', () => {
    fc.assert(
      fc.property(request, (message) => {
        const encoded = service.prepare.requestSerialize(message);
        expect(service.prepare.requestDeserialize(encoded)).toEqual(message);
      }),
      runs(1_000),
    );
  });

  const methods = Object.values(service);
  const mutated = fc.tuple(request, fc.nat(), fc.nat(255)).map(([message, at, value]) => {
    const encoded = Buffer.from(PrepareSnapshotRequest.encode(message).finish());
    if (encoded.length > 0) encoded[at % encoded.length] = value;
    return encoded;
  });

  it('is decoded without broken text, or refused, for every method, from any bytes', () => {
    fc.assert(
      fc.property(fc.oneof(bytes, mutated), fc.constantFrom(...methods), (made, method) => {
        const decoded: unknown = method.requestDeserialize(made);
        const why = unreadable(decoded);
        if (why !== null) expect(why).toMatch(/^the request.*: invalid argument$/);
        else if (!made.includes(Buffer.from('\ufffd'))) {
          expect(textsIn(decoded).filter((text) => text.includes('\ufffd'))).toEqual([]);
        }
      }),
      runs(4_000),
    );
    expect(Object.keys(requestShapes)).toHaveLength(methods.length);
  });

  it('is not refused for fields of later releases', () => {
    const known = UpdateSnapshotRequest.encode({
      snapshotter: 's',
      info: undefined,
      updateMask: ['labels.a'],
    }).finish();
    fc.assert(
      fc.property(bytes, (value) => {
        const later = Buffer.concat([
          Buffer.from([0xa2, 0x06, value.length % 128]),
          value.subarray(0, value.length % 128),
        ]);
        const decoded = service.update.requestDeserialize(Buffer.concat([later, known]));
        expect(decoded).toMatchObject({ updateMask: ['labels.a'] });
        expect(new BinaryReader(later).tag()).toEqual([100, 2]);
      }),
      runs(200),
    );
  });
});

function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (value instanceof Map) return [...value].flatMap(textsIn);
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(textsIn);
  return [];
}

describe('mountinfo', () => {
  const field = fc.oneof(
    fc.constantFrom(
      '-',
      '1',
      '0:42',
      '/',
      '/a\\040b',
      'rw,lowerdir=/a:/b',
      'overlay',
      '\\',
      '\\777',
    ),
    fc.string({ unit: 'binary', maxLength: 9 }),
  );
  const line = fc.array(field, { maxLength: 14 }).map((fields) => fields.join(' '));

  it('is read line by line, whatever stands in it', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
        const entries = parseMountinfo(lines.join('\n'));
        expect(entries.length).toBeLessThanOrEqual(lines.join('\n').split('\n').length);
      }),
      runs(2_000),
    );
  });

  it('gives back any name as the kernel writes it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const escaped = name.replaceAll(
          /[ \t\n\\#]/g,
          (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
        );
        expect(unescapeOctal(escaped)).toBe(name);
      }),
      runs(1_000),
    );
  });
});

describe('mappings', () => {
  const number = fc.oneof(fc.nat(2_000), fc.constantFrom(0, 2 ** 32 - 2, 2 ** 32 - 1, 2 ** 32));
  const range = fc.tuple(number, number, number).map((three) => three.join(':'));
  const mapping = fc.array(fc.oneof({ weight: 9, arbitrary: range }, anyText), { maxLength: 4 });

  it('map each id once, within the range of ids, or are refused', () => {
    fc.assert(
      fc.property(mapping, (ranges) => {
        const text = ranges.join();
        const checked = checkMappings(new Map([[UID_MAPPING_LABEL, text]]));
        if (!checked.ok) expect(checked.refusal.name).toBe('InvalidMapping');
        if (!checked.ok || text === '') return;
        const parsed = ranges.map((each) => each.split(':').map(Number));
        expect(parsed.filter(([container]) => container === 0)).toHaveLength(1);
        for (const side of [0, 1]) {
          const ends = parsed
            .map((each) => [each[side] ?? NaN, (each[side] ?? NaN) + (each[2] ?? NaN)])
            .toSorted((one, other) => (one[0] ?? 0) - (other[0] ?? 0));
          ends.forEach(([, end], index) => {
            expect(end).toBeLessThanOrEqual(ends[index + 1]?.[0] ?? 2 ** 32 - 1);
          });
        }
      }),
      runs(3_000),
    );
  });
});

describe('a configuration file', () => {
  const lines = defaultConfigText().split('\n');
  const piece = fc.oneof(
    fc.constantFrom(...lines),
    fc.constantFrom(
      '[limits]',
      '[log',
      'root = 7',
      '__proto__ = 1',
      'log.level = []',
      'a."b".c = {}',
    ),
    fc.constantFrom(...lines).map((line) => line.replace(/^# /, '').slice(1)),
    anyText,
  );

  it('is read, or refused as a mistake of whoever wrote it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (chosen) => {
        const readFile = () => Promise.resolve(chosen.join('\n'));
        try {
          await loadConfig({ configFile: '/c.toml', env: {}, readFile });
        } catch (thrown) {
          if (!(thrown instanceof UsageError)) throw thrown;
          expect(thrown.message).toContain('/c.toml');
        }
      }),
      runs(600),
    );
  });
});

describe("a layer's manifest and a checkpoint's lines", () => {
  const chainId = fromHex('ab'.repeat(32));
  const text = fc.oneof(anyText, fc.json());

  it('are read or refused', () => {
    fc.assert(
      fc.property(text, (made) => {
        expect(() => parseManifest(made, chainId, '/m')).toThrow(ManifestInvalid);
        for (const decode of [decodeHead, decodeState]) {
          try {
            decode(made);
          } catch (thrown) {
            const isOwn = thrown instanceof TypeError && thrown.message.includes('is malformed');
            if (isOwn || thrown instanceof ZodError || thrown instanceof SyntaxError) continue;
            throw thrown;
          }
        }
      }),
      runs(800),
    );
  });
});
