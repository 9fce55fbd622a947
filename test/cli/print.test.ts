/** Goal: output suits its destination: a terminal or a pipe. */
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { terminalTraits } from '../../src/base/terminal.js';
import {
  truncateLine,
  humanSize,
  Output,
  shortDigests,
  visible,
  visibleJson,
} from '../../src/cli/terminal/print.js';
import {
  OutputClosed,
  OutputFailed,
  ResultWriter,
  streamTarget,
} from '../../src/cli/terminal/result-writer.js';
import { tableLines } from '../../src/cli/terminal/table.js';

const digest = `sha256:${'0123456789ab'.padEnd(64, 'c')}`;

class Collected extends Writable {
  text = '';
  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.text += bytes.toString();
    done();
  }
}

const xterm = terminalTraits(true, { TERM: 'xterm' });
const pipeTraits = terminalTraits(false, { TERM: 'xterm' });

const writerTo = (stream: Writable): ResultWriter =>
  new ResultWriter(streamTarget(stream as unknown as NodeJS.WriteStream));

describe('a terminal', () => {
  it('gets whole lines, short digests, and colors', async () => {
    const terminal = new Collected();
    const out = new Output(writerTo(terminal), { terminal: xterm, isShort: true });
    await out.line(`${out.colors.red('bad')} ${digest} and more`);
    await out.flush();
    expect(terminal.text).toBe('\u001b[31mbad\u001b[39m sha256:0123456789ab and more\n');
  });

  it('gets whole digests with --no-trunc and no colors with NO_COLOR', async () => {
    const terminal = new Collected();
    const out = new Output(writerTo(terminal), {
      terminal: terminalTraits(true, { TERM: 'xterm', NO_COLOR: '1' }),
      isShort: false,
    });
    await out.line(`${out.colors.red('bad')} ${digest}`);
    await out.flush();
    expect(terminal.text).toBe(`bad ${digest}\n`);
  });

  it('gets JSON whole', async () => {
    const terminal = new Collected();
    const out = new Output(writerTo(terminal), { terminal: xterm, isShort: true });
    await out.json('event', { digest });
    await out.flush();
    expect(terminal.text).toBe(`{"schema":"stratalog.event/v1","digest":"${digest}"}\n`);
  });
});

describe('a pipe', () => {
  it('gets JSON with control and bidirectional characters escaped', async () => {
    const pipe = new Collected();
    const out = new Output(writerTo(pipe), { terminal: pipeTraits, isShort: true });
    const key = 'a\u009b31m\u202e\u{e0001}';
    await out.json('event', { key });
    await out.flush();
    expect(pipe.text).toContain('a\\u009b31m\\u202e\\udb40\\udc01');
    expect(JSON.parse(pipe.text)).toMatchObject({ key });
  });

  it('gets whole lines without colors', async () => {
    const pipe = new Collected();
    const out = new Output(writerTo(pipe), { terminal: pipeTraits, isShort: true });
    await out.line(out.colors.red(digest.repeat(3)));
    await out.flush();
    expect(pipe.text).toBe(`${digest.repeat(3)}\n`);
  });

  it('that is closed fails with OutputClosed, also on later writes', async () => {
    const closed = new Writable({
      write: (_bytes, _encoding, done) => {
        done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      },
    });
    const out = new Output(writerTo(closed), { terminal: pipeTraits, isShort: true });
    await out.line('one');
    await expect(out.flush()).rejects.toThrow(OutputClosed);
    await expect(out.flush()).rejects.toThrow(OutputClosed);
  });

  it('that fails otherwise fails with OutputFailed', async () => {
    const full = new Writable({
      write: (_bytes, _encoding, done) => {
        done(Object.assign(new Error('write ENOSPC'), { code: 'ENOSPC' }));
      },
    });
    const out = new Output(writerTo(full), { terminal: pipeTraits, isShort: true });
    await out.line('one');
    await expect(out.flush()).rejects.toThrow(OutputFailed);
    await expect(out.flush()).rejects.toThrow(
      /^cannot write to stdout: write ENOSPC; free space or inodes/,
    );
  });
});

it('truncates by printed characters and resets a truncated color', () => {
  expect(truncateLine('12345', 5)).toBe('12345');
  expect(truncateLine('123456', 5)).toBe('1234…');
  expect(truncateLine('ab😀cd', 4)).toBe('ab😀…');
  expect(truncateLine('\u001b[31m123456\u001b[39m', 5)).toBe('\u001b[31m1234…\u001b[0m');
  expect(truncateLine('\u001b[31m12345\u001b[39m', 5)).toBe('\u001b[31m12345\u001b[39m');
});

it('escapes control characters', () => {
  expect(visible('a\u001b[2Jb\n\u202ec')).toBe('a\\u{1b}[2Jb\\u{0a}\\u{202e}c');
  expect(visible('plain ünï 漢字')).toBe('plain ünï 漢字');
});

it('escapes unprintable characters in JSON, which stays valid', () => {
  const key = 'a\u001b\u007f\u202e\u{e0001}"漢';
  const line = visibleJson(JSON.stringify({ key }));
  expect(line).toBe('{"key":"a\\u001b\\u007f\\u202e\\udb40\\udc01\\"漢"}');
  expect(JSON.parse(line)).toEqual({ key });
});

it('shortens only complete digests', () => {
  expect(shortDigests(`x ${digest}/y sha256:abc`)).toBe('x sha256:0123456789ab/y sha256:abc');
});

it('formats sizes like ctr', () => {
  expect([0, 1023, 1024, 3.4 * 2 ** 20, 2 ** 50].map(humanSize)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '3.4 MiB',
    '1.0 PiB',
  ]);
});

describe('a table', () => {
  const laid = (...rows: string[][]) => [...tableLines(['KIND', 'SUBJECT'], rows)];

  it('aligns columns without borders', () => {
    expect(laid(['a', 'x'], ['longer', ''])).toEqual(['KIND     SUBJECT', 'a        x', 'longer']);
  });

  it('counts no columns for colors, and two for wide characters', () => {
    expect(laid(['\u001b[31mbad\u001b[39m', 'x'], ['漢字', 'y'], ['e\u0301é├', 'z'])).toEqual([
      'KIND   SUBJECT',
      '\u001b[31mbad\u001b[39m    x',
      '漢字   y',
      'e\u0301é├    z',
    ]);
  });

  it('lets a very long cell overflow instead of widening its column', () => {
    const long = 'k'.repeat(64 * 1024);
    expect(laid([long, 'x'], ['漢'.repeat(60), 'y'], ['short', 'z'])).toEqual([
      'KIND    SUBJECT',
      `${long}   x`,
      `${'漢'.repeat(60)}   y`,
      'short   z',
    ]);
  });

  it('produces lines lazily', () => {
    const rows = [['a'], ['b']];
    const lines = tableLines(['KIND'], rows);
    lines.next();
    rows[1] = ['c'];
    expect([...lines]).toEqual(['a', 'c']);
  });
});
