/**
 * Goal: whatever a client sends, it is answered with the right code and words, nothing changes,
 * and the daemon is as well afterwards as before. Method: one table against one daemon, raw
 * HTTP/2; what a client could have changed is compared around each row, the process around all.
 */
import * as fs from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verified } from '../log/fixtures.js';
import { until } from '../support/daemon.js';
import { answered, families, filters, labels, masks, names } from './api-requests.js';
import { frames, messages } from './api-wire.js';
import { ApiWorld } from './api-world.js';
import { checkCase } from './case.js';

let world: ApiWorld;
let before: { readonly descriptors: number; readonly megabytes: number };

/** Open files and sockets; threads, which are started as they are needed, have others. */
function descriptors(): number {
  const open = fs.readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      const target = fs.readlinkSync(`/proc/self/fd/${name}`);
      return /^(socket:|\/(?!dev\/|proc\/))/.test(target) ? [target] : [];
    } catch {
      // The one that lists them is gone by now.
      return [];
    }
  });
  return open.length;
}

/** Memory in use once what is of no use has been taken away, in MiB. */
function megabytes(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss() / 2 ** 20;
}

beforeAll(async () => {
  world = await ApiWorld.open();
  await world.furnish();
  await world.list();
  before = { descriptors: descriptors(), megabytes: megabytes() };
});
afterAll(() => world.close());

describe.each(
  Object.entries({ names, families, labels, masks, filters, answered, messages, frames }),
)('%s', (_, cases) => {
  it.each(cases)('$name', async (row) => {
    const ended = world.ends.length;
    await checkCase(row, world, (each) => each.picture());
    // Every call that reached a method is counted once, and as what the client was told.
    const codes = world.ends.slice(ended).map(({ code }) => code.toUpperCase());
    const told = String(row.expected.code).replaceAll('_', '');
    if (codes.length > 0) expect(codes).toEqual([told]);
  });
});

it('has rows enough', () => {
  const rows = [names, families, labels, masks, filters, answered, messages, frames].flat();
  expect(rows.length).toBeGreaterThan(120);
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
});

const strange = [
  ...[
    '.',
    '..',
    '/',
    '../../etc',
    '/etc/passwd',
    'a/../b',
    '-rf',
    '*',
    '~',
    ' ',
    '\ufeff',
    '\ufffd',
  ],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '\0',
    'a\nb',
    '\r\n',
    '\x1b[2J',
    '\x7f',
  ],
  ...[
    'a\0b',
    'a\0c',
    'é',
    'e\u0301',
    '\u202e',
    '👩‍👧',
    'k'.repeat(32_768),
    'snapshots',
    'log',
    '1',
    '%00',
  ],
];

describe('names that are strange and good', () => {
  it.each(strange)('%j', async (key) => {
    const { snapshots, beside } = world.picture();
    const labels = new Map(strange.map((name) => [name.slice(0, 99), `${name.slice(0, 99)}!`]));
    const prepared = await world.call('prepare', { snapshotter: '', key, parent: 'child', labels });
    expect(prepared.code, prepared.message).toBe('OK');
    const found = await world.list({ filters: [`labels.constructor`] });
    expect(found.map(({ name }) => name)).toEqual([key]);
    expect(found[0]?.labels).toEqual(labels);
    const removed = await world.call('remove', { snapshotter: '', key });
    expect(removed.code, removed.message).toBe('OK');
    expect(world.picture()).toMatchObject({ snapshots, beside });
    for (const directory of world.daemon.directories()) expect(directory).toMatch(/^\d+$/);
  });
});

it('is as well afterwards as before', async () => {
  expect((await world.call('prepare', prepareOf('ordinary'))).code).toBe('OK');
  expect((await world.call('remove', { snapshotter: '', key: 'ordinary' })).code).toBe('OK');
  expect(world.fatal).toEqual([]);
  expect(world.warnings).toEqual([]);
  expect(world.daemon.warnings).toEqual([]);
  const { findings, summary } = await verified(world.daemon.host.disk, world.root.path);
  expect([findings, summary.damage]).toEqual([[], 0]);
  expect(world.server.load()).toEqual({ connections: 1, calls: 0 });
  await until('descriptors are given back', () => descriptors() <= before.descriptors);
  // The largest rows are a hundred times that: none of it may stay.
  expect(megabytes() - before.megabytes).toBeLessThan(200);
});

function prepareOf(key: string) {
  return { snapshotter: '', key, parent: 'child', labels: new Map<string, string>() };
}
