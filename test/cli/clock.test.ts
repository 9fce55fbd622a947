/**
 * Goal: the daemon keeps and drops the right events when the clock of the machine is set. Method:
 * libfaketime sets its wall clock but not its monotonic clock.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import type { Daemon } from '../../scripts/rig/daemon.js';
import {
  aDaemonToBe,
  aDirectory,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  jsonLines,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const config = '[log_store]\nsegment_size = "1MiB"\ncheckpoint_every_events = 100\nretain = "1d"\n';
const DAY_MILLIS = 86_400_000;

/** The path in Debian's package. */
function fakeTime(): string {
  const paths = fs
    .readdirSync('/usr/lib')
    .map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`);
  const found = paths.find((path) => fs.existsSync(path));
  if (found === undefined) throw new Error('libfaketime is missing: apt-get install faketime');
  return found;
}

let written = 0;

/** Writes more than one segment: each key has 30 kB. */
async function write(daemon: Daemon): Promise<void> {
  const asked = askedOf(daemon);
  for (let count = 0; count < 60; count += 1) {
    const key = `${(written += 1)}-`.padEnd(30_000, 'x');
    await asked.prepare(key);
    await asked.remove(key);
  }
}

const segmentsOf = ({ root }: Daemon): string[] =>
  fs
    .readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith('.seg'))
    .sort();

it(
  'keeps young events and drops old ones when the clock is set',
  { timeout: 120_000 },
  async () => {
    const file = join(await aDirectory(), 'clock');
    const setClock = (offset: string) => fs.writeFileSync(file, `${offset}\n`);
    setClock('+0');
    const daemon = await aDaemonToBe({
      config,
      flags: ['--log-format', 'json'],
      env: {
        ...{ LD_PRELOAD: fakeTime(), FAKETIME_TIMESTAMP_FILE: file },
        ...{ FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' },
      },
    });
    await daemon.start();
    await write(daemon);
    const [first = ''] = segmentsOf(daemon);
    setClock('+30d');
    await write(daemon);
    setClock('+0');
    await write(daemon);
    expect(segmentsOf(daemon)[0]).toBe(first);
    const { stdout } = await stratalog([
      'log',
      '--root',
      daemon.root,
      '--type',
      'ClockStepped',
      '--json',
    ]);
    const steps = jsonLines(stdout).map(({ data }) => (data as { byMillis: number }).byMillis);
    expect(steps.map((millis) => Math.round(millis / DAY_MILLIS))).toEqual([30, -30]);
    expect(daemon.log()).toMatch(/"level":"warning".*the clock was set ahead/);

    // Days pass as steps of the clock, as on a paused machine.
    for (const day of [2, 4, 6]) {
      setClock(`+${day}d`);
      await write(daemon);
    }
    await daemon.stop();
    expect(segmentsOf(daemon)[0]).not.toBe(first);
    expect(await stratalog(['verify', '--root', daemon.root])).toMatchObject({ code: 0 });
  },
);
