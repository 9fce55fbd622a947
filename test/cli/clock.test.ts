/**
 * Goal: the daemon as it is keeps and drops the right history when somebody sets the clock of the
 * machine. Method: libfaketime sets its wall clock and leaves its monotonic one alone.
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

/** Where Debian's package has it. */
function fakeTime(): string {
  const paths = fs
    .readdirSync('/usr/lib')
    .map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`);
  const found = paths.find((path) => fs.existsSync(path));
  if (found === undefined) throw new Error('libfaketime is missing: apt-get install faketime');
  return found;
}

let written = 0;

/** More than a segment: 30 kB for each snapshot, because its key is long. */
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

it('keeps young history and drops old, though the clock is set', { timeout: 120_000 }, async () => {
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

  // Days pass of which the process sees steps alone, as on a machine that is paused.
  for (const day of [2, 4, 6]) {
    setClock(`+${day}d`);
    await write(daemon);
  }
  await daemon.stop();
  expect(segmentsOf(daemon)[0]).not.toBe(first);
  expect(await stratalog(['verify', '--root', daemon.root])).toMatchObject({ code: 0 });
});
