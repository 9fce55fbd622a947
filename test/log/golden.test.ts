/**
 * Goal: the log of every release stays readable, record by record and byte by byte, and this
 * release writes exactly what its own golden log says. Method: work on copies; never write there.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { systemDisk } from '../../src/host/files/disk.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { DAEMON_EVENTS } from '../../src/machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../../src/machines/events/events.js';
import { encodeState } from '../../src/machines/snapshots/state-json.js';
import { goldenAppends } from '../golden/log-events.js';
import {
  asJson,
  digestsOf,
  goldenDisk,
  projectionOf,
  writeGoldenLog,
  type GoldenExpectation,
} from '../golden/make-log.js';
import { anEvent, openTestLog, recordsOf, verified, withTemporaryRoot } from './fixtures.js';

const here = `${import.meta.dirname}/../golden`;
const releases = readdirSync(here).filter((name) => existsSync(`${here}/${name}/expected.json`));
const current = `v${(JSON.parse(readFileSync(`${here}/../../package.json`, 'utf8')) as { version: string }).version}`;

function expectationOf(release: string): GoldenExpectation {
  const text = readFileSync(`${here}/${release}/expected.json`, 'utf8');
  return JSON.parse(text) as GoldenExpectation;
}

const parsed = (line: string): unknown => JSON.parse(line);
const recordsIn = ({ records }: GoldenExpectation) => records as readonly { type: string }[];

describe.each(releases)('the golden log of %s', (release) => {
  const expected = expectationOf(release);

  it('is as it was when the release was cut', async () => {
    expect(await digestsOf(`${here}/${release}/root`)).toEqual(expected.files);
  });

  it('verifies, and reads as the same records', async () => {
    const disk = systemDisk();
    const root = `${here}/${release}/root`;
    expect((await recordsOf(disk, root)).map(asJson)).toEqual(expected.records);
    const { findings, summary } = await verified(disk, root);
    expect(findings).toEqual([]);
    expect(summary).toMatchObject({
      verifiedTo: expected.records.length,
      chain: expected.chain,
    });
  });

  it('replays to the same snapshots, from the beginning and from its checkpoint', async () => {
    const root = `${here}/${release}/root`;
    expect(await projectionOf(root)).toEqual(expected.projection);
    const { replay, checkpoint } = await replayRoot(systemDisk(), root);
    expect(checkpoint).toBe(expected.checkpoint.position);
    const states = [...replay.forest.values()].map(encodeState);
    expect(states.map(parsed)).toEqual(expected.projection.slice(1).map(parsed));
  });

  it('holds every event type of this release', () => {
    const held = new Set(recordsIn(expected).map(({ type }) => type));
    const known = [...Object.keys(SNAPSHOT_EVENTS), ...Object.keys(DAEMON_EVENTS)];
    if (release === current) expect([...held].sort()).toEqual(known.sort());
  });

  it('opens from its checkpoint, and takes new records', async () => {
    await withTemporaryRoot(async (root) => {
      await cp(`${here}/${release}/root`, `${root}/copy`, { recursive: true });
      const options = { root: `${root}/copy`, segmentBytes: 4096, writtenBy: 'stratalog 9.0.0' };
      const opened = await openTestLog(goldenDisk(), options);
      expect(opened.restored).toEqual(expected.checkpoint);
      const tail = expected.records.slice(expected.checkpoint.position);
      expect(opened.replayed.map(asJson)).toEqual(tail);
      await opened.log.append([anEvent('after', 0)], { sync: true }).durable;
      await opened.log.close();
      const all = await recordsOf(goldenDisk(), options.root);
      expect(all.slice(0, -1).map(asJson)).toEqual(expected.records);
    });
  });
});

describe('this release', () => {
  it('has a golden log, and writes it again byte for byte', async () => {
    expect(releases).toContain(current);
    await withTemporaryRoot(async (directory) => {
      const { release } = expectationOf(current);
      const written = await writeGoldenLog(`${directory}/root`, goldenAppends(), release);
      expect(written).toEqual(expectationOf(current));
    });
  });
});
