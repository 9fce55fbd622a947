/**
 * Goal: a configuration file that is wrong in any way is refused with its place, what is wrong and
 * what is right, before anything else is looked at. Method: one file for each mistake, given to
 * `config check`; the last two cases give one to `serve`, which must not make its root.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { checkCase, treeOf, type HostileCase } from './case.js';
import { ask } from './cli.js';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'stratalog-hostile-'));
afterAll(() => fs.rmSync(base, { recursive: true, force: true }));
const file = path.join(base, 'config.toml');

type Content = string | Buffer;
/** What is written, the line that must be named (null: none), and what must be said of it. */
type Mistake = readonly [name: string, content: Content, line: number | null, ...says: RegExp[]];

const longPath = `/${'a'.repeat(107)}`;
const nested = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;

const mistakes: readonly Mistake[] = [
  ['a number for a text', 'root = 5\n', 1, /root: expected string, received number/],
  ['a text for a switch', 'async_remove = "yes"\n', 1, /expected boolean, received string/],
  ['a date for a path', 'root = 1979-05-27\n', 1, /expected string, received date/],
  ['a list for a table', 'log = [1]\n', 1, /log: expected table, received list/],
  ['a list of tables for a table', '[[log]]\nlevel = "info"\n', 1, /expected table, received list/],
  ['a number for a table', 'limits = 5\n', 1, /expected table, received number/],
  ['a broken number', '[limits]\nconnections = 1.5\n', 2, /expected whole number/],
  ['no number', '[limits]\nconnections = nan\n', 2, /expected number, received nan/],
  ['a negative number', '[limits]\nconnections = -1\n', 2, /Too small.*>=1/],
  ['a number beyond all bounds', '[limits]\nconnections = 99999999999999999999\n', 2, /lossless/],
  ['a slip of the pen', 'async_removal = true\n', 1, /unknown.*did you mean async_remove\?/],
  [
    'a setting in the wrong table',
    '[limits]\nprepare = "5s"\n',
    2,
    /mean limits\.budgets\.prepare/,
  ],
  ['a key called __proto__', '[__proto__]\nroot = "/x"\n', 1, /__proto__: unknown setting/],
  ['a key twice', 'root = "/a"\nroot = "/b"\n', 2, /redefine/, /"root = \\"\/b\\""/],
  ['a table twice', '[log]\nlevel = "info"\n[log]\nformat = "json"\n', 3, /redefine/, /"\[log\]"/],
  [
    'a unit that is none',
    '[effects]\nmount_timeout = "10 seconds"\n',
    2,
    /such as "10s" or "1m30s"/,
  ],
  ['a duration below zero', '[effects]\nmount_timeout = "-10s"\n', 2, /such as "10s"/],
  ['a duration without end', '[effects]\nmount_timeout = "9999d"\n', 2, /from 100ms to 1h/],
  ['a size in ambiguous units', '[log_store]\nsegment_size = "64M"\n', 2, /such as "64MiB"/],
  ['bits as a number', '[socket]\nmode = 600\n', 2, /four octal digits in quotes/],
  [
    'budgets that contradict limits',
    '[limits.budgets]\nprepare = "5s"\n',
    2,
    /longer than effects/,
  ],
  ['a relative root', 'root = "var/lib"\n', 1, /expected an absolute path/],
  ['the root of everything', 'root = "/"\n', 1, /expected an absolute path/],
  ['a root with a zero byte', 'root = "/tmp/a\\u0000b"\n', 1, /without NUL bytes/],
  ['a root with a line break', 'root = "/tmp/a\\nb"\n', 1, /choose another directory/],
  ['a root with a comma', 'root = "/tmp/a,b"\n', 1, /","/, /choose another directory/],
  ['a root with a colon', 'root = "/tmp/a:b"\n', 1, /":"/, /choose another directory/],
  ['a store with a zero byte', 'layer_store = "/a\\u0000"\n', 1, /without NUL bytes/],
  ['a socket that cannot be bound', `address = "${longPath}"\n`, 1, /too long.*107 bytes/],
  ['a socket whose directory is too long', `address = "${longPath.slice(0, 103)}/s"\n`, 1, /107/],
  ['a debug socket that cannot be bound', `debug_address = "${longPath}"\n`, 1, /too long/],
  ['a metrics socket that cannot be bound', `metrics_address = "${longPath}"\n`, 1, /too long/],
  ['a port that is none', 'metrics_address = "localhost:99999"\n', 1, /"host:port"/],
  [
    'a mistake behind DOS line ends',
    'root = "/x"\r\n[log]\r\nlevel = "loud"\r\n',
    3,
    /trace, debug/,
  ],
  ['a mistake behind a byte order mark', '\ufeffroot = 5\n', 1, /expected string/],
  ['Latin-1', Buffer.from('root = "/x"\n# f\xfcr\n', 'latin1'), 2, /invalid UTF-8; save the file/],
  ['UTF-16', Buffer.from('\ufeffroot = "/x"\n', 'utf16le'), 1, /invalid UTF-8; save the file/],
  ['a program', fs.readFileSync('/bin/true'), null, /invalid UTF-8|invalid TOML/],
  ['a text that never ends', 'root = "/x\n', 1, /invalid TOML/, /"root = /],
  ['brackets without end', `a = ${nested}\n`, 1, /nested/],
  ['several at once', 'root = 5\naddress = 6\n', 1, /:1: root/, /:2: address/],
];

/** The check of one file that stands already. */
const checking = (name: string): Promise<{ code: number | string; message: string }> =>
  ask(['config', 'check', '--config', path.join(base, name)]);

const cases: HostileCase<string>[] = [
  ...mistakes.map(([name, content, line, ...says]): HostileCase<string> => {
    const place = line === null ? file : `${file}:${line}: `;
    return {
      name,
      given: () => fs.writeFileSync(file, content),
      when: () => checking('config.toml'),
      expected: { code: 2, message: [new RegExp(place.replaceAll(/[.[\]]/g, '\\$&')), ...says] },
    };
  }),
  {
    name: 'a directory',
    given: () => fs.mkdirSync(path.join(base, 'directory')),
    when: () => checking('directory'),
    expected: { code: 2, message: [/cannot read configuration file .*directory: .*EISDIR/] },
  },
  {
    name: 'nothing',
    when: () => checking('nothing'),
    expected: { code: 2, message: [/cannot read configuration file .*nothing: ENOENT/] },
  },
  {
    name: 'a link in a circle',
    given: () => fs.symlinkSync('circle', path.join(base, 'circle')),
    when: () => checking('circle'),
    expected: { code: 2, message: [/cannot read configuration file .*circle: ELOOP/] },
  },
  {
    name: '100 MB of comment, without reading them all',
    given: () => {
      fs.writeFileSync(path.join(base, 'huge'), '# ');
      fs.truncateSync(path.join(base, 'huge'), 100 * 2 ** 20);
    },
    when: () => checking('huge'),
    expected: {
      code: 2,
      message: [/huge is larger than 1 MiB, which is the limit for a configuration file/],
    },
  },
  {
    name: 'a device that never ends',
    when: () => ask(['config', 'check', '--config', '/dev/zero']),
    expected: { code: 2, message: [/\/dev\/zero is larger than 1 MiB/] },
  },
  {
    name: 'a wrong file, for serve',
    given: () => fs.writeFileSync(file, `root = "${base}/root"\nasync_remov = true\n`),
    when: () => ask(['serve', '--config', file]),
    expected: { code: 2, message: [/^stratalog: .*:2: async_remov: unknown.*mean async_remove/] },
  },
  {
    name: 'a wrong variable, for serve',
    given: () => fs.writeFileSync(file, ''),
    when: () => ask(['serve', '--config', file], { STRATALOG_ROOT: 'relative' }),
    expected: { code: 2, message: [/STRATALOG_ROOT: root: expected an absolute path/] },
  },
];

describe('a configuration is refused that is or has', () => {
  it.each(cases)('$name', (each) => checkCase(each, base, treeOf));
});

describe('a configuration is read as it is meant that', () => {
  it.each([
    ['is empty', ''],
    ['has a byte order mark', '\ufeffroot = "/x"\n'],
    ['has DOS line ends', 'root = "/x"\r\n[log]\r\nlevel = "info"\r\n'],
    ['is said in words beyond ASCII', '# für 😀\nroot = "/x"\n'],
  ])('%s', async (_name, content) => {
    fs.writeFileSync(file, content);
    const { code, message, stdout } = await ask(['config', 'check', '--config', file]);
    expect({ code, message }).toEqual({ code: 0, message: '' });
    expect(stdout).toContain(': ok');
    expect(stdout.includes('root = "/x"')).toBe(content !== '');
  });
});
