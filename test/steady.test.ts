/** Goal: a guide hides what varies and nothing else. Method: by example. */
import { describe, expect, it } from 'vitest';
import { comparable, forHere, forPage } from '../scripts/guides/steady.js';

const aliases = [
  { real: '/tmp/strata-a1/root', page: '/var/lib/stratalog' },
  { real: '127.0.0.1:40707', page: 'hub.example.com' },
];
const digest = `sha256:${'1f8eea30a60e'.padEnd(64, '0')}`;

describe('a page', () => {
  it('has the names of the page, moved times and short digests', () => {
    const output = `127.0.0.1:40707/shop at /tmp/strata-a1/root/log, 2026-11-27T19:00:01.5Z ${digest}`;
    expect(forPage(output, aliases, 3_600_000)).toBe(
      'hub.example.com/shop at /var/lib/stratalog/log, 2026-11-27T20:00:01.5Z sha256:1f8eea30a60e',
    );
  });

  it('keeps the columns of a table below each other', () => {
    const output = [
      `KEY${' '.repeat(digest.length)}KIND`,
      `${digest}   committed`,
      `web${' '.repeat(digest.length)}active`,
      '',
      'total   2',
    ].join('\n');
    expect(forPage(output, aliases, 0)).toBe(
      [
        'KEY                   KIND',
        'sha256:1f8eea30a60e   committed',
        'web                   active',
        '',
        'total   2',
      ].join('\n'),
    );
  });

  it('gives commands that can be run here', () => {
    const command = 'stratalog who /var/lib/stratalog/snapshots/5 --at 2026-11-27T20:00:01Z';
    expect(forHere(command, aliases, 3_600_000)).toBe(
      'stratalog who /tmp/strata-a1/root/snapshots/5 --at 2026-11-27T19:00:01Z',
    );
  });
});

describe('two runs', () => {
  it.each([
    ['2026-11-20T03:11:33.187Z', '2026-11-20T03:12:00Z'],
    ['directories made in 2.4 ms', 'directories made in 1 s 12 ms'],
    ['by pid 1482', 'by pid 99213'],
    ['from position 37 to 39', 'from position 36 to 38'],
    ['extract-820549672-ExHb sha256:6d4978cda632', 'extract-1-9_-x sha256:000078cda632'],
    ['9   kept   1.9 MiB', '9   kept   264.0 KiB'],
  ])('are alike where they say %j and %j', (one, other) => {
    expect(comparable(one)).toBe(comparable(other));
  });

  it.each([
    ['snapshot 3', 'snapshot 4'],
    ['SnapshotRemoving', 'SnapshotRemoved'],
    ['findings    0, and 1 ordinary', 'findings    1'],
  ])('differ where they say %j and %j', (one, other) => {
    expect(comparable(one)).not.toBe(comparable(other));
  });
});
